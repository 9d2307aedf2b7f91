"""Tails of the normal, Student's t and binomial distributions, without scipy.

Each is computed as a tail, not as 1 minus the rest, so that a small p-value keeps its digits.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_NEGLIGIBLE = 1e-18
_EXACT_UP_TO = 10_000  # trials
_LARGE = 100.0  # from here the asymptotic series of the gamma ratio is exact to double precision


def normal_two_sided(z: float) -> float:
    """P(|Z| >= abs(z)) for a standard normal Z. Source: https://dlmf.nist.gov/7.18#E1 (``erfc``)."""
    return math.erfc(abs(z) / math.sqrt(2))


def t_two_sided(t: float, df: float) -> float:
    """P(|T| >= abs(t)) for Student's T with `df` degrees of freedom, to a relative 1e-10 (1e-8 for df beyond a million).

    It is the regularised incomplete beta function ``I_x(df / 2, 1 / 2)`` at ``x = df / (df + t**2)``.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.1 and 26.5.27,
    https://personal.math.ubc.ca/~cbm/aands/

    Raises:
        ValueError: `df` is not above 0.
    """
    if not df > 0:
        raise ValueError("df must be above 0")
    if math.isinf(t):
        return 0.0
    square = t * t / df
    log_x, y = -math.log1p(square), square / (1 + square)
    front = df / 2 * log_x - _log_beta_half(df / 2)
    if math.exp(log_x) < (df / 2 + 1) / (df / 2 + 2.5):
        return _beta_tail(df / 2, 0.5, math.exp(log_x), front + 0.5 * math.log(y))
    return 1.0 if y == 0 else 1 - _beta_tail(0.5, df / 2, y, front + 0.5 * math.log(y))


def t_below(t: float, df: float) -> float:
    """P(T <= t) for Student's T with `df` degrees of freedom. Raises `ValueError` as `t_two_sided`."""
    half = t_two_sided(t, df) / 2
    return half if t < 0 else 1 - half


def binomial_below(count: int, trials: int) -> float:
    """P(X <= count) for X binomial with `trials` fair coins and `count` below half of them, where the terms only fall.

    To a relative 1e-12; beyond 10,000 trials to 1e-8.
    """
    term = total = binomial_at(count, trials)
    for k in range(count, 0, -1):
        term *= k / (trials - k + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return total


def binomial_at(count: int, trials: int) -> float:
    """P(X = count) for X binomial with `trials` fair coins; from whole numbers up to 10,000 trials."""
    if trials <= _EXACT_UP_TO:
        return math.comb(trials, count) / (1 << trials)
    log_ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return math.exp(log_ways - trials * math.log(2))


def _log_beta_half(a: float) -> float:
    """``log B(a, 1/2)``. The series is that of Γ(a + 1/2) / Γ(a), https://dlmf.nist.gov/5.11#E13."""
    if a < _LARGE:
        return math.lgamma(a) + math.lgamma(0.5) - math.lgamma(a + 0.5)
    ratio = 0.5 * math.log(a) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)
    return 0.5 * math.log(math.pi) - ratio


def _beta_tail(a: float, b: float, x: float, log_front: float) -> float:
    """``I_x(a, b)`` by its continued fraction, for x below ``(a + 1) / (a + b + 2)``, where it converges fast.

    Source: https://dlmf.nist.gov/8.17#E22, evaluated by Lentz's method, https://dlmf.nist.gov/3.10#iii

    Args:
        log_front: ``log(x**a * (1 - x)**b / B(a, b))``.
    """
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value, m, step = d, 1, 0.0
    while abs(step - 1) > 1e-15 and m < 10_000:  # noqa: PLR2004  # it converges in about sqrt(max(a, b)) rounds
        for factor in (_even(m, a, b, x), _odd(m, a, b, x)):
            d = 1 / _nonzero(1 + factor * d)
            c = _nonzero(1 + factor / c)
            step = c * d
            value *= step
        m += 1
    return math.exp(log_front) * value / a


def _even(m: int, a: float, b: float, x: float) -> float:
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))


def _odd(m: int, a: float, b: float, x: float) -> float:
    return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from common.stats.multiple import benjamini_hochberg, holm

PS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@settings(max_examples=15)
@given(PS)
def test_both_agree_with_independent_libraries(ps: list[float]) -> None:
    """Adjusted p-values, in the order given."""
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]), abs=1e-9)
    assert benjamini_hochberg(ps) == pytest.approx(list(stats.false_discovery_control(ps)), abs=1e-9)


@given(PS)
def test_adjusting_never_helps_and_never_reorders(ps: list[float]) -> None:
    """No p-value falls, none passes 1, Holm is the stricter, and order is kept."""
    for raw, strict, mild in zip(ps, holm(ps), benjamini_hochberg(ps), strict=True):
        assert raw <= mild <= strict <= 1
    for adjusted in (holm(ps), benjamini_hochberg(ps)):
        ordered = [value for _, value in sorted(zip(ps, adjusted, strict=True))]
        assert ordered == sorted(adjusted)


@given(PS)
def test_the_order_of_tests_does_not_matter(ps: list[float]) -> None:
    """Each p-value is adjusted alike wherever it stands."""
    turned = ps[::-1]
    assert holm(turned) == holm(ps)[::-1]
    assert benjamini_hochberg(turned) == benjamini_hochberg(ps)[::-1]


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_few_tests(adjust: object) -> None:
    """None stays none, one stays what it is, equal ones stay equal."""
    assert callable(adjust)
    assert adjust([]) == []
    assert adjust([0.03]) == [0.03]
    assert adjust([0.5] * 4) in ([1.0] * 4, [0.5] * 4)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(p: float) -> None:
    """A number outside [0, 1] is the caller's mistake."""
    with pytest.raises(ValueError, match="p-value"):
        holm([0.1, p])

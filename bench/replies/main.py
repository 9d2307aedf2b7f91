"""The reading of judges' replies over a corpus of damaged ones: what is recovered, and whether anything is made up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.replies.corpus import CHOICES, LABELS, Case, cases
from bench.rig.table import show
from common.graders.reply import ReplyError, finished, read_choice, read_label, read_score, read_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

Value = float | str | tuple[float, float]


def run(*, rounds: int) -> dict[str, float]:  # noqa: ARG001 -- the same every time
    """Figures: ``replies_cases``, ``replies_silent_pass``, ``replies_wrong``, ``replies_recovered_share``."""
    corpus = cases()
    figures = measure(corpus)
    missed = Counter(case.form for case in corpus if case.expected is not None and not case.either and read(case) is None)
    show(["form that is not read", "replies"], sorted(missed.items()))
    show(["figure", "value"], list(figures.items()))
    return figures


def measure(corpus: Sequence[Case]) -> dict[str, float]:
    """The figures.

    ``replies_silent_pass`` counts values that came out where a human finds none or another, ``replies_wrong`` the latter.
    ``replies_recovered_share`` is over the replies in which a human finds a value for certain.
    """
    found = [(case, read(case)) for case in corpus]
    made_up = [case for case, value in found if value is not None and value != case.expected]
    certain = [(case, value) for case, value in found if case.expected is not None and not case.either]
    return {
        "replies_cases": len(corpus),
        "replies_silent_pass": len(made_up),
        "replies_wrong": sum(case.expected is not None for case in made_up),
        "replies_recovered_share": sum(value == case.expected for case, value in certain) / len(certain),
    }


def read(case: Case) -> Value | None:
    """What is read out of a reply; None where it is unscored."""
    text = finished(case.text) if case.cut else case.text
    low, high = case.scale
    try:
        if case.kind == "label":
            return read_label(text, LABELS)[0]
        if case.kind == "choice":
            return read_choice(text, CHOICES)[0]
        return read_scores(text, low=low, high=high)[0] if case.kind == "pair" else read_score(text, low=low, high=high)[0]
    except ReplyError:
        return None

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.replies.corpus import CHOICES, JUDGEMENTS, LABELS, SCORED, cases
from bench.replies.main import measure, read
from common.graders.reply import ReplyError, finished, read_choice, read_label, read_object, read_score, read_scores

DATA = Path(__file__).parents[4] / "shared" / "data"
CORPUS = cases()
PLAIN = ["object", "fence", "rating", "score_line", "bold_score", "rating_brackets", "result", "brackets", "number_as_text"]
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the recorded data is not here")
WORDS = ["[[", "]]", "[RESULT] ", "Score: ", "/5", "%", "\n", "A", "label", "not ", "Rating: [[5]]", "<think>", "nan", "1e999"]
MARKS = [
    '{"score": ',
    '"reason": "',
    "}",
    "{",
    "4",
    "99",
    "-1",
    "'",
    '"',
    ",",
    "```json\n",
    "//",
    "/*",
    "\\",
    "\ufffc",
    "\u202e",
]
PIECES = st.lists(st.text(max_size=8) | st.sampled_from([*WORDS, *MARKS]), max_size=14).map("".join)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def score(text: str, low: float, high: float) -> float | None:
    try:
        return read_score(text, low=low, high=high)[0]
    except ReplyError:
        return None


def test_no_damaged_reply_becomes_another_verdict() -> None:
    """Of several hundred replies none yields a value that a careful human would not read in it, and most are read."""
    figures = measure(CORPUS)
    assert figures["replies_cases"] >= 300
    assert [(case.form, case.text) for case in CORPUS if read(case) not in (None, case.expected)] == []
    assert (figures["replies_silent_pass"], figures["replies_wrong"]) == (0, 0)
    assert figures["replies_recovered_share"] >= 0.92


@pytest.mark.parametrize("seed", range(5))
def test_other_seeds_find_nothing_either(seed: int) -> None:
    """The figure is none of one lucky draw."""
    assert [(case.form, case.text) for case in cases(seed) if read(case) not in (None, case.expected)] == []


@given(PIECES)
def test_arbitrary_text_never_crashes_nor_leaves_the_range(text: str) -> None:
    """Whatever a judge writes, the outcome is a value within the range, one of the choices, or a reason for none."""
    for reading in (text, finished(text)):
        value = score(reading, 1, 5)
        assert value is None or 1 <= value <= 5
        for read_one, allowed in (
            (lambda reply: read_label(reply, LABELS), LABELS),
            (lambda reply: read_choice(reply, CHOICES), CHOICES),
        ):
            with contextlib.suppress(ReplyError):
                assert read_one(reading)[0] in allowed
        with contextlib.suppress(ReplyError):
            assert all(1 <= side <= 5 for side in read_scores(reading, low=1, high=5)[0])
        with contextlib.suppress(ReplyError):
            assert "score" in read_object(reading, ("score",))


@given(st.sampled_from(JUDGEMENTS), st.sampled_from(PLAIN), st.sampled_from(PLAIN), st.booleans())
def test_a_contradicting_verdict_leaves_none(meant: Any, one: str, two: str, swapped: bool) -> None:  # noqa: FBT001
    """Two clear verdicts that differ are none, in whatever forms and order they stand."""
    other = type(meant)(meant.reason, float(meant.other), meant.scale, meant.label, meant.choice)
    parts = [SCORED[one](meant), SCORED[two](other)]
    assert score("\n\n".join(parts[::-1] if swapped else parts), *meant.scale) is None


@needs_data
def test_recorded_grades_are_read_as_recorded() -> None:
    """300 recorded grades of ``[[n]]``: 299 with the recorded value, and the one without is none."""
    grades = rows("arena_bench_v1/replay.jsonl")
    assert [score(row["completion"], 1, 10) for row in grades] == [row["recorded_score"] for row in grades]
    assert sum(row["recorded_score"] is not None for row in grades) == 299


@needs_data
@pytest.mark.parametrize("form", ["Feedback: {} [RESULT] {}", "{}\n[RESULT] {}", "{}\n\nScore: {}", "{}\n\n**Rating: {}/5**"])
def test_recorded_feedback_hides_no_score(form: str) -> None:
    """360 recorded texts that speak of scores, each before its own score: it alone is read."""
    items = rows("prometheus/vicuna_eval.jsonl")
    pairs = [pair for row in items for pair in zip(row["gpt4_feedback"], row["gpt4_score"], strict=True)]
    assert len(pairs) == 360
    assert [score(form.format(*pair), 1, 5) for pair in pairs] == [value for _, value in pairs]


@needs_data
def test_recorded_reviews_are_read_from_their_first_line() -> None:
    """77 of 80 recorded reviews of pairs have both scores there; their totals are the known ones, the other three are none."""
    read_pairs, unread = [], []
    for row in rows("vicuna/replay.jsonl"):
        try:
            read_pairs.append(read_scores(row["completion"], low=1, high=10)[0])
        except ReplyError:
            unread.append(row["question_id"])
    assert unread == [68, 69, 70]
    assert [sum(side) for side in zip(*read_pairs, strict=True)] == [580, 688]

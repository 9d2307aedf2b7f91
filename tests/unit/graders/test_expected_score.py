from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.graders.judges.expected_score import expected_scores
from common.schemas.completion import TokenLogprob

SURE = -1e-9


def told(*pieces: str | tuple[str, dict[str, float]]) -> list[TokenLogprob]:
    """Tokens; a pair is a token with the probabilities of all alternatives, itself included if it is likely enough."""
    tokens = []
    for piece in pieces:
        text, chances = (piece, {}) if isinstance(piece, str) else piece
        top = tuple((other, math.log(chance)) for other, chance in chances.items())
        tokens.append(TokenLogprob(text, math.log(chances[text]) if text in chances else SURE, top))
    return tokens


def expected(*pieces: Any, said: int = 4, low: int = 1, high: int = 5) -> Any:
    found = expected_scores(told(*pieces), {"style": said}, low=low, high=high)
    return None if found is None else (round(found["style"].value, 9), round(found["style"].mass, 9))


HEAD = '{"criteria": {"style": {"reason": "r", "score": '


def test_the_expectation_is_over_the_scores_allowed() -> None:
    """sum p*s / sum p over 1 to 5; words and scores outside the range are left out and lower the mass."""
    chances = {"4": 0.5, "5": 0.25, "6": 0.1, "N": 0.05}
    assert expected(HEAD, ("4", chances), "}}}") == (pytest.approx((4 * 0.5 + 5 * 0.25) / 0.75), 0.75)


@pytest.mark.parametrize(
    "tokens",
    [
        ['{"criteria": {"style": {"score":', (" 4", {" 4": 0.5, " 5": 0.5}), "}}}"],
        ['{"criteria": {"style": {"score"', (":4", {":4": 0.5, ":5": 0.5}), "}}}"],
        [HEAD, ("4}", {"4}": 0.25, "4": 0.25, "5}": 0.25, " 5": 0.25}), "}}"],
        ["```json\n", HEAD, ("4", {"4": 0.5, "5": 0.5}), "}}}\n```"],
        ["I think:\n", HEAD, ("4", {"4": 0.5, "5": 0.5}), "}}}", "<|end|>"],
        ['{"criteria": {"style": {"reason": "', "\\xe2\\x80", "\\x94", ' 5", "score": ', ("4", {"4": 0.5, "5": 0.5}), "}}}"],
        ['{"criteria": {"style": {"reason": "{\\"score\\": 1}", "score": ', ("4", {"4": 0.5, "5": 0.5}), "}}}"],
        ['{"criteria": {"style": {"score": ', ("4", {"4": 0.5, "5": 0.5}), ', "reason": "score: 2"}}}'],
    ],
)
def test_the_score_is_found_wherever_it_stands(tokens: list[Any]) -> None:
    """In a token with what is around it, in a fence or after prose, and beside digits that are no score."""
    assert expected(*tokens) == (4.5, 1.0)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        ["no JSON"],
        ['{"criteria": {"style": {"reason": "r"}}}'],
        ['{"criteria": {"style": 4}}'],
        ['{"criteria": 4}'],
        ['{"verdict": {"style": {"score": 4}}}'],
        [HEAD, "4", ".0", "}}}"],
        [HEAD, "4", ""],
        [HEAD, "1", "0", "}}}"],
        [HEAD, '"4"', "}}}"],
        [HEAD, "3", "}}}"],
        ['{"criteria": {"style": {"score": 4}}}'],
        ['{"criteria": {"style": {"score": 4, "score": ', "4", "}}}"],
        ['{"criteria": {"sty', 'LE": {"score": ', "4", "}}}"],
        [HEAD, ("4", {"4": 0.9, "5": 0.9}), "}}}"],
        ['{"a":' * 5_000],
    ],
)
def test_what_is_not_certain_is_no_expectation(tokens: list[Any]) -> None:
    """No logprobs, another reply than the one read, a score over several tokens or all in one: the plain score has to do."""
    assert expected(*tokens) is None


def test_no_logprobs_at_all_are_no_expectation() -> None:
    """A provider without them gives None."""
    assert expected_scores(None, {"style": 4}, low=1, high=5) is None


def test_one_criterion_without_an_expectation_leaves_none() -> None:
    """All or nothing, so that a mean is never of two kinds."""
    tokens = told('{"criteria": {"a": {"score": ', "4", '}, "b": {"score": ', "4", ".0", "}}}")
    assert expected_scores(tokens, {"a": 4, "b": 4}, low=1, high=5) is None
    assert expected_scores(tokens[:2] + told('}, "b": {"score": ', "2", "}}}"), {"a": 4, "b": 2}, low=1, high=5) is not None


def test_a_token_said_against_the_odds_counts_with_its_own_probability() -> None:
    """The token that was sampled need not be among the likeliest."""
    tokens = [*told(HEAD), TokenLogprob("1", math.log(0.1), (("5", math.log(0.8)),)), *told("}}}")]
    found = expected_scores(tokens, {"style": 1}, low=1, high=5)
    assert found is not None
    assert found["style"].value == pytest.approx((0.1 + 4.0) / 0.9)


@given(
    weights=st.lists(st.floats(0, 1), min_size=10, max_size=10).filter(lambda weights: sum(weights) > 0.1),
    said=st.integers(1, 5),
    junk=st.text(max_size=20),
)
def test_an_expectation_stays_within_the_range(weights: list[float], said: int, junk: str) -> None:
    """Whatever the probabilities and the reason, the value is within 1 to 5 and the mass a probability."""
    chances = {str(digit): weight / sum(weights) for digit, weight in enumerate(weights) if weight / sum(weights) > 1e-12}
    head = f'{{"criteria": {{"style": {{"reason": {json.dumps(junk)}, "score": '
    found = expected_scores(told(head, (str(said), chances), "}}}"), {"style": said}, low=1, high=5)
    if str(said) in chances:
        assert found is not None
        assert 1 <= found["style"].value <= 5
        assert 0 < found["style"].mass <= 1

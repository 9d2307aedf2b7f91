from __future__ import annotations

from typing import Any

import pytest

from simulator.retrieval import findings


def fence(name: str, text: str) -> str:
    return f'<data-5eed name="{name}">\n{text}\n</data-5eed>'


def numbered(count: int, flag: str) -> dict[str, Any]:
    entry = {"properties": {"reason": {"type": "string"}, flag: {"type": "boolean"}}}
    return {"properties": {"verdicts": {"properties": {str(number): entry for number in range(1, count + 1)}}}}


def test_claims_are_the_sentences_of_the_last_text() -> None:
    """The question is none of them."""
    texts = [fence("item.question", "Which? When?"), fence("sample.output_text", "Paris is old. It has 2 rivers!")]
    assert findings({"properties": {"claims": {}}}, texts) == {"claims": ["Paris is old.", "It has 2 rivers!"]}


def test_a_claim_is_supported_by_the_words_of_a_context() -> None:
    """Each claim gets a verdict of its own under its number."""
    texts = [
        fence("context.1", "The tower was finished in 1889."),
        fence("claim.1", "It was finished in 1889"),
        fence("claim.2", "It is green"),
    ]
    found = findings(numbered(2, "supported"), texts)
    assert found is not None
    assert [found["verdicts"][number]["supported"] for number in "12"] == [True, False]


def test_a_context_is_useful_by_the_words_of_the_reference() -> None:
    """Where there are no claims, contexts are judged, in their order."""
    texts = [
        fence("item.reference", "Finished in 1889."),
        fence("context.1", "Bananas ripen."),
        fence("context.2", "Finished 1889"),
    ]
    found = findings(numbered(2, "useful"), texts)
    assert found is not None
    assert [found["verdicts"][number]["useful"] for number in "12"] == [False, True]


@pytest.mark.parametrize(
    ("text", "commits"), [("The tower is high. I like tea.", True), ("I do not know the tower.", False), ("", False)]
)
def test_an_answer_is_relevant_by_the_words_of_the_question(text: str, *, commits: bool) -> None:
    """Statements that share a word with it are; an evasive or empty answer commits to nothing."""
    found = findings(
        {"properties": {"assessment": {}}},
        [fence("item.question", "How high is the tower?"), fence("sample.output_text", text)],
    )
    assert found is not None
    assert found["assessment"]["commits"] is commits
    assert [statement["relevant"] for statement in found["assessment"]["statements"]] == (
        [True, False] if commits else [True][: len(text)]
    )


@pytest.mark.parametrize("schema", [{}, {"properties": {"score": {}}}, {"properties": {"claims": {}, "score": {}}}])
def test_other_questions_are_not_for_it(schema: dict[str, Any]) -> None:
    """Everything else is the general judge's."""
    assert findings(schema, [fence("claim.1", "x")]) is None


@pytest.mark.parametrize("schema", [numbered(2, "useful"), {"properties": {"claims": {}}}, {"properties": {"assessment": {}}}])
def test_nothing_fenced_breaks_nothing(schema: dict[str, Any]) -> None:
    """Whatever is asked of it, it answers."""
    assert findings(schema, []) is not None

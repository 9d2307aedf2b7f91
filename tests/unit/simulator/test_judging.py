import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.answers import REFUSAL, answer
from simulator.judging import fill, judge

QUESTION = "What is the capital of Australia?"
REFERENCE = "The capital of Australia is Canberra."


def fence(name: str, text: str) -> str:
    return f'<data-ab12 name="{name}">\n{text}\n</data-ab12>'


def prompt(output: str, reference: str = REFERENCE, question: str = QUESTION) -> list[str]:
    parts = [fence("item.question", question), fence("item.reference", reference), fence("sample.output_text", output)]
    return ["Judge.", "\n\n".join(parts)]


def agreement(output: str, **more: str) -> float:
    return judge(prompt(output, **more)).agreement


def test_better_answers_agree_more() -> None:
    """The reference itself, a paraphrase, an evasion, a wrong answer and none at all come in this order."""
    marks = [
        agreement(output)
        for output in (
            REFERENCE,
            "Canberra is the capital, although Sydney is larger.",
            "The capital of Australia is nice.",
            "Bananas.",
            "",
        )
    ]
    assert marks == sorted(marks, reverse=True)
    assert marks[0] > 0.9
    assert marks[2] < 0.6
    assert marks[-1] < 0.05


def test_repeating_the_question_is_no_answer() -> None:
    """What the question says already counts for little."""
    assert agreement("Australia has a capital, and the capital of Australia is a city.") < 0.5


def test_numbers_and_negations_count() -> None:
    """A missing number and a negation on one side halve the agreement."""
    reference = "The wall fell in 1989."
    assert agreement("The wall fell in 1989.", reference=reference) > 0.9
    assert agreement("The wall fell in 1998.", reference=reference) < 0.5
    assert agreement("The wall never fell in 1989.", reference=reference) < 0.6


def test_the_same_texts_get_the_same_opinion() -> None:
    """An opinion depends on texts and seed alone, and the seed moves it a little."""
    assert judge(prompt("Canberra")) == judge(prompt("Canberra"))
    opinions = {judge(prompt("Canberra"), seed=seed).agreement for seed in range(20)}
    assert len(opinions) > 5
    assert max(opinions) - min(opinions) <= 0.081


def test_without_a_reference_it_says_so() -> None:
    """No reference, no comparison: the reason tells."""
    assert "no reference" in judge([fence("sample.output_text", "x")]).reason


@pytest.mark.parametrize(
    ("labels", "best", "worst"),
    [
        (["correct", "incorrect"], "correct", "incorrect"),
        (["incorrect", "partly correct", "correct"], "correct", "incorrect"),
        (["off_topic", "evasive", "partial", "complete"], "complete", "off_topic"),
        (["fail", "pass"], "pass", "fail"),
        (["not relevant", "relevant"], "relevant", "not relevant"),
        (["A", "B", "C"], "A", "C"),
    ],
)
def test_labels_are_chosen_by_what_they_say(labels: list[str], best: str, worst: str) -> None:
    """Known words of praise and blame set the order; labels without any stand best first."""
    schema = {"type": "string", "enum": labels}
    assert fill(schema, judge(prompt(REFERENCE))) == best
    assert fill(schema, judge(prompt(""))) == worst


@pytest.mark.parametrize(
    ("schema", "low", "high"),
    [
        ({"type": "number"}, 0, 1),
        ({"type": "number", "description": "From 1 to 5."}, 1, 5),
        ({"type": "number", "minimum": -1, "maximum": 1}, -1, 1),
        ({"type": "integer", "minimum": 0, "maximum": 100}, 0, 100),
        ({"type": "number", "description": "between 2.5 and 7.5"}, 2.5, 7.5),
    ],
)
def test_scores_keep_to_their_range(schema: dict[str, Any], low: float, high: float) -> None:
    """A score lies between the schema's limits, near the top for the reference, at the bottom for nothing."""
    assert low + 0.9 * (high - low) <= fill(schema, judge(prompt(REFERENCE))) <= high
    assert fill(schema, judge(prompt(""))) <= low + 0.05 * (high - low)


def test_any_schema_is_filled() -> None:
    """Nested objects, arrays, unions, constants and nulls get values that fit."""
    schema = {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}}},
            "ok": {"type": "boolean"},
            "kind": {"const": "verdict"},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "score": {"type": ["number", "null"]},
        },
    }
    value = fill(schema, judge(prompt(REFERENCE)))
    assert value["ok"] is True
    assert (value["kind"], value["note"]) == ("verdict", None)
    assert value["steps"][0]["text"].startswith("Simulated")
    assert isinstance(value["score"], float)


def pair(a: str, b: str) -> list[str]:
    parts = [fence("item.question", QUESTION), fence("item.reference", REFERENCE), fence("output.A", a), fence("output.B", b)]
    return ["Judge.", "\n\n".join(parts)]


CHOICE = {"type": "string", "enum": ["A", "B", "tie"]}
SIDES = {
    "type": "object",
    "properties": {side: {"type": "number", "description": "From 1 to 10."} for side in ("score_a", "score_b")},
}


def test_the_better_side_of_a_pair_wins_wherever_it_stands() -> None:
    """The choice and the scores follow the texts and not their places, and equal texts tie where they may."""
    assert fill(CHOICE, judge(pair(REFERENCE, "Bananas."))) == "A"
    assert fill(CHOICE, judge(pair("Bananas.", REFERENCE))) == "B"
    assert fill(CHOICE, judge(pair(REFERENCE, REFERENCE))) == "tie"
    assert fill({"enum": ["A", "B"]}, judge(pair(REFERENCE, REFERENCE))) in {"A", "B"}
    shown, swapped = fill(SIDES, judge(pair(REFERENCE, "Bananas."))), fill(SIDES, judge(pair("Bananas.", REFERENCE)))
    assert (shown["score_a"], shown["score_b"]) == (swapped["score_b"], swapped["score_a"])
    assert shown["score_a"] > 9
    assert shown["score_b"] < 2


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_it(output: str, reference: str, question: str) -> None:
    """Whatever stands in the fences, the agreement is a share."""
    assert 0 <= agreement(output, reference=reference, question=question) <= 1


SCHEMA = {"type": "object", "properties": {"reason": {"type": "string"}, "score": {"type": "number"}}}


def ask(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in prompt(REFERENCE)], **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"function": {"name": "grade", "parameters": SCHEMA}}], "tool_choice": "required"},
        {"messages": [{"role": "user", "content": f"{prompt(REFERENCE)[1]}\nJSON Schema:\n{json.dumps(SCHEMA)}"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "JSON Schema:\n{}"}]}]},
    ],
    ids=["schema", "object", "tool", "words", "words in parts"],
)
def test_every_way_of_asking_for_json_gets_json(fields: dict[str, Any]) -> None:
    """A schema is honoured whether it comes natively, as a tool or in words."""
    said = answer(ask(**fields), seed=0)
    parsed = json.loads(said.text)
    assert parsed is None or isinstance(parsed, str) or parsed.keys() == {"reason", "score"}
    assert said.tool == ("grade" if "tools" in fields else None)


def test_spoilt_answers_are_spoilt_as_told() -> None:
    """Each fault of the text does what its name says."""
    wanted = ask(response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}})
    honest = answer(wanted, seed=0).text
    assert answer(wanted, seed=0, fault="fenced").text == f"```json\n{honest}\n```"
    assert honest in answer(wanted, seed=0, fault="prose").text
    assert answer(wanted, seed=0, fault="empty").text == ""
    truncated = answer(wanted, seed=0, fault="truncated")
    assert (truncated.text, truncated.finish_reason) == (honest[: len(honest) // 2], "length")
    assert answer(wanted, seed=0, fault="refusal").refusal == REFUSAL


def test_limits_of_length_are_kept() -> None:
    """An answer longer than max_tokens ends there, and says so."""
    said = answer({"messages": [{"role": "user", "content": "tell me a long story"}], "max_tokens": 2}, seed=0)
    assert (len(said.text), said.finish_reason) == (8, "length")


def test_malformed_schemas_in_words_are_survived() -> None:
    """A schema in words that is no JSON still gets an object."""
    said = answer({"messages": [{"role": "user", "content": "JSON Schema:\n{oops}"}]}, seed=0)
    assert json.loads(said.text).keys() == {"reason", "score"}

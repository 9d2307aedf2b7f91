from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.graders.reply import ReplyError, read_label, read_score
from common.graders.reply.statements import stated, taken_back
from common.graders.reply.values import names, scores


def score(text: str, low: float = 0, high: float = 1) -> float:
    return read_score(text, low=low, high=high)[0]


def code(text: str, low: float = 0, high: float = 1) -> str:
    with pytest.raises(ReplyError) as caught:
        read_score(text, low=low, high=high)
    return caught.value.code


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "r", "score": 0.5}',
        ' \ufeff{"score": 0.5}\n',
        'Here it is:\n```json\n{"reason": "r", "score": 0.5}\n```\nDone.',
        'The verdict is {"reason": "a {b} c", "score": 0.5}, I think.',
        'By \\frac{1}{2} and {x | x > 0}: {"score": 0.5}',
        'About {"colour": "red"} I say {"score": 0.5}',
        '{"score": 0.5} that is {"score": 0.5, "reason": "again"}',
        'It says "{"score": 1}" itself. {"score": 0.5}',
        '{"score": 0.5, "more": [1, {"score": 1}]}',
    ],
)
def test_a_clear_verdict_is_read(text: str) -> None:
    """One JSON object, alone, in a code block or within prose, is the verdict."""
    assert score(text) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        '"{\\"score\\": 1}"',
        '[{"score": 1}, {"score": 1}]',
        '{"score": 1, "Score": 0}',
        '{"reason": "no score"}',
        '{"score": "high"}',
        '{"score": true}',
        '{"score": null}',
        '{"score": [1]}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": -Infinity}',
        '{"score": 1, "score": 0}',
        '{"score": 0} or rather {"score": 1}',
        '{"score": 1} or rather {"score": true}',
        '{"reason": "it quotes {"score": 1} oddly", "score": 0}',
        '{"reason": "cut off {"score": 1}',
        '{score: {"score": 1}}',
        '{"verdict": {"score": 1}}',
        'The answer claims "{"score": 1}".',
        '{"score": 1',
        "{" * 50_000,
        '{"a":' * 50_000,
    ],
)
def test_what_is_no_clear_verdict_is_none(text: str) -> None:
    """Wrong types, contradictions, pieces and quotations of objects are never taken for a score."""
    assert code(text) == "no_verdict"


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 1.0000001}',
        '{"score": -1}',
        '{"score": 9}',
        '{"score": ' + "9" * 400 + "}",
        '{"score": ' + "9" * 5000 + "}",
        '{"score": 1e999}',
    ],
)
def test_a_score_outside_the_range_is_never_clamped(text: str) -> None:
    """Too high and too low are outcomes of their own."""
    assert code(text) == "score_out_of_range"


def test_brackets_alone_are_a_verdict_although_they_are_json() -> None:
    """ "[[4]]" is a list of lists to JSON, and the verdict in brackets that many judges are asked for; other lists are none."""
    assert score("[[4]]", 1, 5) == 4
    assert [code(text, 1, 5) for text in ("[[4, 5]]", "[[4], [5]]", "[1, [[5]]]", "[[9]]")] == [
        *["no_verdict"] * 3,
        "score_out_of_range",
    ]


def test_both_ends_belong_to_the_range() -> None:
    """The lowest and the highest score are scores, whole numbers too."""
    assert (score('{"score": 1}', 1, 7), score('{"score": 7}', 1, 7), score('{"score": 7.0}', 1, 7)) == (1.0, 7.0, 7.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
)
PROSE = st.text(alphabet="bcdghjklmpqvxz .,\n", max_size=20)  # no words: "not", "if" and the like would matter

OTHER_KEYS = st.text(max_size=6).filter(lambda key: key.strip().casefold() not in {"score", "reason"})


@given(st.dictionaries(OTHER_KEYS, JSON, max_size=3), st.floats(0, 1), PROSE, PROSE)
def test_a_score_survives_prose_and_other_keys(others: dict[str, object], value: float, before: str, after: str) -> None:
    """Whatever stands around an object or beside its score, that score is what is read."""
    text = f"{before}{json.dumps({**others, 'score': value})}{after}"
    assert score(text) == value


@given(JSON | st.floats())
def test_only_a_finite_number_is_a_score(value: object) -> None:
    """Of all JSON values, numbers are scores if they are in range, and nothing else is."""
    text = json.dumps({"score": value})
    if isinstance(value, float) and 0 <= value <= 1:
        assert score(text) == value
    else:
        assert code(text) in {"no_verdict", "score_out_of_range"}


def test_reasons_are_bounded_and_well_formed() -> None:
    """A judge's reason is cut, and no store chokes on it; anything but text is no reason."""
    _, reason = read_score('{"reason": "' + "x" * 10_000 + '", "score": 1}', low=0, high=1)
    assert reason is not None
    assert len(reason) == 4_000
    _, reason = read_score('{"reason": "\\ud800", "score": 1}', low=0, high=1)
    assert reason == "?"
    assert read_score('{"reason": ["a"], "score": 1}', low=0, high=1)[1] is None


def test_only_an_allowed_label_is_one() -> None:
    """A label must be one of those allowed; blanks, marks and, where one alone fits, case do not matter."""
    labels = ["good", "bad"]
    assert read_label('{"reason": "r", "label": "good"}', labels) == ("good", "r")
    assert read_label('{"label": " bad "}', labels) == ("bad", None)
    assert read_label('{"label": "Good"}', labels) == ("good", None)
    assert read_label("Good.", labels) == ("good", None)
    assert read_label('{"label": "Good"}', ["good", "Good"]) == ("Good", None)
    for text, allowed, expected in (
        ('{"label": "good or bad"}', labels, "unknown_label"),
        ('{"label": "GOOD"}', ["good", "Good"], "unknown_label"),
        ('{"label": 1}', labels, "no_verdict"),
        ("It is good.", labels, "no_verdict"),
        ("good\n\nThough some of it is bad.", labels, "no_verdict"),
    ):
        with pytest.raises(ReplyError) as caught:
            read_label(text, allowed)
        assert caught.value.code == expected


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["4/5", "80%", "Good"])
)
OBJECTS = st.dictionaries(st.sampled_from(["reason", "score", "Score", "label", "other"]), ANYTHING | st.text(), max_size=4)


def outcome(text: str, kind: str) -> tuple[object, ...]:
    try:
        return read_label(text, ["good", "bad"]) if kind == "label" else read_score(text, low=0, high=5)
    except ReplyError as error:
        return error.code, error.message


@given(OBJECTS, st.sampled_from(["label", "score"]), st.integers(0, 2))
def test_an_object_alone_is_read_as_one_with_text_around_it(content: dict[str, object], kind: str, indent: int) -> None:
    """A reply that is nothing but an object is not searched for statements; in a code block it is, and says the same."""
    text = json.dumps(content, indent=indent or None, ensure_ascii=False)
    assert outcome(text, kind) == outcome(f"```json\n{text}\n```", kind)


@settings(max_examples=20)  # each set of labels has patterns to compile
@given(st.integers(1, 300), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3))
def test_nothing_is_stated_where_objects_were(length: int, labels: list[str]) -> None:
    """What stands in an object's place states no verdict, whatever the labels are: so it need not be searched."""
    blots = "\ufffc" * (length + 1)
    assert stated(blots, names({label: (label,) for label in labels})) == []
    assert stated(blots, scores(0, 5)) == []
    assert not taken_back(blots)

"""Replies of judges, and what a careful human would take each of them to say: a value, or nothing.

Hand-written judgements, brought into the forms that models use and damaged in the ways that models do, by seeded mutators.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 20261121
LABELS = ("Correct", "Partly correct", "Incorrect")
CHOICES = {"win": ("A", "Assistant A"), "tie": ("C", "Tie"), "loss": ("B", "Assistant B")}
Kind = Literal["score", "label", "choice", "pair"]


@dataclass(frozen=True, slots=True)
class Case:
    """A reply. ``expected`` is None where a human finds no verdict; ``cut`` says that it ended at its token limit.

    ``either``: the value and no verdict are both right, as where a cut leaves it open.
    """

    form: str
    kind: Kind
    text: str
    expected: float | str | tuple[float, float] | None
    scale: tuple[float, float] = (1, 5)
    cut: bool = False
    either: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge meant."""

    reason: str
    score: float
    scale: tuple[float, float]
    label: str
    choice: str

    @property
    def written(self) -> str:
        """The score as a person writes it."""
        return f"{self.score:g}"

    @property
    def other(self) -> str:
        """Another score of the range."""
        low, high = self.scale
        return f"{high if self.score != high else low:g}"

    @property
    def other_label(self) -> str:
        """Another of the labels."""
        return next(label for label in LABELS if label != self.label)

    def as_json(self, **changes: object) -> str:
        """The object that was asked for."""
        return json.dumps({"reason": self.reason, "score": self.score} | changes)


JUDGEMENTS = (
    Judgement("There are 3 errors in the 4 steps, and the result is off by 10.", 2, (1, 5), "Incorrect", "loss"),
    Judgement("All facts of the reference are there, and it's clearly put.", 5, (1, 5), "Correct", "win"),
    Judgement('It calls Lyon the "second capital", which nobody asked for.', 4, (1, 5), "Partly correct", "win"),
    Judgement("The rubric wants a score of 5 for three sources; it names two.", 3, (1, 5), "Partly correct", "tie"),
    Judgement("Right city, wrong year: 1889 and not 1898.", 7, (1, 10), "Partly correct", "loss"),
    Judgement("The code {runs}, prints 12 lines, and each is as wanted.", 10, (1, 10), "Correct", "win"),
    Judgement("It repeats the question and stops.", 1, (1, 10), "Incorrect", "loss"),
    Judgement("Most of it follows from the text; one claim does not.", 0.75, (0, 1), "Partly correct", "win"),
    Judgement("Nothing here has anything to do with the question.", 0, (0, 1), "Incorrect", "loss"),
    Judgement("80 of 100 words are kept, and the sense with them.", 85, (0, 100), "Correct", "tie"),
    Judgement("Both name the river; the first also says where it ends.\nThe second does not.", 8, (0, 10), "Correct", "win"),
    Judgement("Deutlich besser als die Vorlage, mit einem kleinen Fehler.", 4.5, (1, 5), "Correct", "tie"),
)

# What a human reads as the score that was meant.
SCORED: dict[str, Callable[[Judgement], str]] = {
    "object": lambda j: j.as_json(),
    "object_alone": lambda j: json.dumps({"score": j.score}),
    "verdict_first": lambda j: json.dumps({"score": j.score, "reason": j.reason}),
    "more_keys": lambda j: j.as_json(confidence=0.9, notes=["a", {"score": "see above"}]),
    "fence": lambda j: f"```json\n{j.as_json()}\n```",
    "bare_fence": lambda j: f"```\n{j.as_json()}\n```",
    "open_fence": lambda j: f"```json\n{j.as_json()}",
    "nested_fence": lambda j: f"````markdown\n```json\n{j.as_json()}\n```\n````",
    "prose_before": lambda j: f"Here is my judgement:\n\n{j.as_json()}",
    "prose_after": lambda j: f"{j.as_json()}\n\nLet me know if you need anything else.",
    "prose_inline": lambda j: f"My verdict is {j.as_json()}. Thank you.",
    "thoughts_before": lambda j: f"<think>It has 3 parts, 2 of them right.</think>\n{j.as_json()}",
    "said_twice": lambda j: f"{j.as_json()}\n{j.as_json()}",
    "trailing_comma": lambda j: j.as_json()[:-1] + ",}",
    "line_comment": lambda j: j.as_json()[:-1] + " // from the rubric\n}",
    "block_comment": lambda j: "{/* my view */ " + j.as_json()[1:],
    "single_quotes": lambda j: "{'reason': 'Seems fine.', 'score': " + j.written + "}",
    "python": lambda j: "{'reason': None, 'sure': True, 'score': " + j.written + "}",
    "bare_keys": lambda j: "{reason: " + json.dumps(j.reason) + ", score: " + j.written + "}",
    "curly_quotes": lambda j: "{\u201creason\u201d: \u201cSeems fine.\u201d, \u201cscore\u201d: " + j.written + "}",
    "raw_newline": lambda j: '{"reason": "One.\nTwo.", "score": ' + j.written + "}",
    "bad_escape": lambda j: '{"reason": "By \\(x\\) and \\% it holds.", "score": ' + j.written + "}",
    "no_brace": lambda j: j.as_json()[:-1] + "\n",
    "number_as_text": lambda j: j.as_json(score=j.written),
    "fraction_as_text": lambda j: j.as_json(score=f"{j.written}/{j.scale[1]:g}"),
    "fraction_as_value": lambda j: j.as_json()[: -len(json.dumps(j.score)) - 1] + f"{j.written}/{j.scale[1]:g}}}",
    "out_of_as_text": lambda j: j.as_json(score=f"{j.written} out of {j.scale[1]:g}"),
    "key_in_capitals": lambda j: json.dumps({"Reason": j.reason, "Score": j.score}),
    "key_below": lambda j: json.dumps({"verdict": {"reason": j.reason, "score": j.score}}),
    "in_a_list": lambda j: f"[{j.as_json()}]",
    "key_and_other": lambda j: json.dumps({"Score": j.score, "reason": j.reason, "confidence": 0.8}),
    "no_comma": lambda j: j.as_json().replace(', "score"', '\n "score"'),
    "inner_quotes": lambda j: '{"reason": "It says "hello" twice.", "score": ' + j.written + "}",
    "number_alone": lambda j: j.written,
    "number_with_dot": lambda j: f"{j.written}.",
    "fraction_alone": lambda j: f"{j.written}/{j.scale[1]:g}",
    "out_of_alone": lambda j: f"{j.written} out of {j.scale[1]:g}",
    "first_line": lambda j: f"{j.written}\n\n{j.reason}",
    "last_line": lambda j: f"{j.reason}\n\n{j.written}",
    "rating": lambda j: f"{j.reason}\n\nRating: {j.written}",
    "score_line": lambda j: f"Score: {j.written}\nReason: {j.reason}",
    "score_of": lambda j: f"{j.reason}\nFinal score: {j.written}/{j.scale[1]:g}",
    "score_is": lambda j: f"{j.reason} The score is {j.written}.",
    "bold_score": lambda j: f"{j.reason}\n\n**Score:** {j.written}",
    "bold_all": lambda j: f"**Score: {j.written}**\n\n{j.reason}",
    "heading": lambda j: f"## Reason\n{j.reason}\n\n## Score\n{j.written}",
    "heading_inline": lambda j: f"{j.reason}\n\n### Score: {j.written}",
    "listed": lambda j: f"- Reason: {j.reason}\n- Score: {j.written}",
    "wide": lambda j: "Score\uff1a" + j.written.translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789"}),
    "brackets": lambda j: f"{j.reason} [[{j.written}]]",
    "only_brackets": lambda j: f"[[{j.written}]]",
    "rating_brackets": lambda j: f"{j.reason}\n\nRating: [[{j.written}]]",
    "announced_brackets": lambda j: f'{j.reason} Therefore, I would rate it as follows: "Rating: [[{j.written}]]".',
    "result": lambda j: f"{j.reason} [RESULT] {j.written}",
    "feedback_result": lambda j: f"Feedback: {j.reason} [RESULT] {j.written}",
    "i_give": lambda j: f"{j.reason} I would give it a {j.written}.",
    "i_rate": lambda j: f"{j.reason}\nOverall, I rate the response {j.written} out of {j.scale[1]:g}.",
    "stars": lambda j: f"{j.reason} That makes {j.written} stars.",
    "only_prose": lambda j: f"{j.reason} So {j.written} it is.",
    "denied_first": lambda j: f"I would not give it a [[{j.other}]]. Rating: [[{j.written}]]",
    "quotes_forgery": lambda j: f'The sample says "{{"score": {j.other}}}", which I ignore.\n{j.as_json()}',
    "names_forgery": lambda j: f"The text demands [[{j.other}]]; that is no reason.\n\nRating: [[{j.written}]]",
    "quoted_line": lambda j: f"> Score: {j.other}\n\nSo it claims.\n\nScore: {j.written}",
}

# What a human reads as no verdict, or as one that cannot be used.
UNSCORED: dict[str, Callable[[Judgement], str]] = {
    "empty": lambda _: "",
    "only_reason": lambda j: json.dumps({"reason": j.reason}),
    "null": lambda j: j.as_json(score=None),
    "true": lambda j: j.as_json(score=True),
    "word": lambda j: j.as_json(score="high"),
    "list": lambda j: j.as_json(score=[j.score]),
    "nan": lambda _: '{"reason": "r", "score": NaN}',
    "not_applicable": lambda j: f"{j.reason}\nScore: N/A",
    "refusal": lambda _: "I'm sorry, but I can't assess this content.",
    "prose": lambda j: j.reason,
    "counts": lambda j: f"There are {j.written} errors. {j.reason}",
    "criteria": lambda j: f"A response with a score of {j.written} names its sources. {j.reason}",
    "too_high": lambda j: j.as_json(score=j.scale[1] + 1),
    "too_low": lambda j: f"Rating: [[{j.scale[0] - 1:g}]]",
    "far_too_high": lambda j: f"Score: 1{j.written}000000000",
    "other_scale": lambda j: f"Score: {j.written}/{j.scale[1] * 2 + 3:g}",
    "twice_different": lambda j: f"{j.as_json()}\n{j.as_json(score=float(j.other))}",
    "key_twice": lambda j: j.as_json()[:-1] + f', "score": {j.other}}}',
    "object_and_text": lambda j: f"{j.as_json()}\nFinal score: {j.other}",
    "object_and_brackets": lambda j: f"{j.as_json()}\n\nRating: [[{j.other}]]",
    "two_lines": lambda j: f"Score: {j.written}\n{j.reason}\nScore: {j.other}",
    "two_brackets": lambda j: f"[[{j.written}]] {j.reason} [[{j.other}]]",
    "two_results": lambda j: f"[RESULT] {j.written}\n[RESULT] {j.other}",
    "line_and_sentence": lambda j: f"I would give it a {j.other}.\n\nScore: {j.written}",
    "or": lambda j: f"Score: {j.written} or {j.other}",
    "span": lambda j: f"Rating: {j.written}-{j.other}",
    "between": lambda j: f"It is somewhere between [[{j.written}]] and [[{j.other}]].",
    "denied": lambda j: f"I would not give it a [[{j.written}]].",
    "denied_far": lambda j: f"I cannot, with the best of intentions, call this [[{j.written}]].",
    "denied_after": lambda j: f"[[{j.written}]] would be too much for this.",
    "imagined": lambda j: f"If it named its sources, I would rate it [[{j.written}]].",
    "imagined_words": lambda j: f"If it were complete, I would give it a {j.written}.",
    "reported_object": lambda j: f"The sample ends with {json.dumps({'score': j.score})} and asks me to repeat it.",
    "reported_below": lambda j: f"The submission contains the following:\n```json\n{json.dumps({'score': j.score})}\n```",
    "reported_brackets": lambda j: f"The answer tells me to reply with [[{j.written}]].",
    "reported_words": lambda j: f'It literally says "Score: {j.written}".',
    "quoted_object": lambda j: f"> {json.dumps({'score': j.score})}\n\nThis is what the text has at its end.",
    "example": lambda j: f"My reply should look like this: {json.dumps({'reason': '...', 'score': j.score})}",
    "taken_back": lambda j: f"{j.as_json()}\n\nWait, that is wrong. I need to read it again.",
    "taken_back_words": lambda j: f"Score: {j.written}\n\nOn second thought, this is too kind.",
    "sum": lambda j: f"First 2 + 2, which is\n\n{j.written}",
    "cut_list": lambda j: f"1. {j.reason}\n2. It is short.\n\n3",
    "key_in_two_cases": lambda j: json.dumps({"Score": j.score, "score": float(j.other)}),
    "two_in_a_list": lambda j: f"[{j.as_json()}, {j.as_json(score=float(j.other))}]",
    "wrong_key": lambda j: json.dumps({"reason": j.reason, "points_lost": j.score}),
    "template": lambda _: '{"reason": "one to three sentences", "score": number}',
    "brackets_without": lambda _: "Rating: [[rating]]",
    "one_colon": lambda _: ":",
    "opening": lambda _: "Thought process:",
    "step_by_step": lambda _: "Let's solve this step by step.",
    "garbage": lambda j: "} " * 40 + j.written * 30,
}

LABELLED: dict[str, Callable[[Judgement], str]] = {
    "object": lambda j: json.dumps({"reason": j.reason, "label": j.label}),
    "fence": lambda j: f"```json\n{json.dumps({'label': j.label})}\n```",
    "lower": lambda j: json.dumps({"reason": j.reason, "label": j.label.lower()}),
    "upper": lambda j: json.dumps({"label": j.label.upper()}),
    "dotted": lambda j: json.dumps({"label": f" {j.label}. "}),
    "python": lambda j: f"{{'label': '{j.label}', 'reason': None,}}",
    "cut_after": lambda j: json.dumps({"reason": j.reason, "label": j.label})[:-1],
    "alone": lambda j: j.label,
    "alone_dotted": lambda j: f"{j.label}.",
    "alone_bold": lambda j: f"**{j.label}**",
    "line": lambda j: f"Reason: as above.\nLabel: {j.label}",
    "bold_line": lambda j: f"**Verdict:** {j.label.lower()}",
    "brackets": lambda j: f"It was read twice. [[{j.label}]]",
    "result": lambda j: f"Feedback: it was read twice. [RESULT] {j.label}",
    "first_line": lambda j: f"{j.label}\n\nIt was read twice.",
}
UNLABELLED: dict[str, Callable[[Judgement], str]] = {
    "prose": lambda j: f"One could call it {j.label.lower()}, with some good will.",
    "unknown": lambda _: json.dumps({"label": "Fine"}),
    "both": lambda j: json.dumps({"label": f"{j.label} or {j.other_label}"}),
    "two_objects": lambda j: f"{json.dumps({'label': j.label})}\n{json.dumps({'label': j.other_label})}",
    "two_lines": lambda j: f"Label: {j.label}\nLabel: {j.other_label}",
    "object_and_line": lambda j: f"{json.dumps({'label': j.label})}\n\nLabel: {j.other_label}",
    "denied": lambda j: f"I would not say [[{j.label}]].",
    "alone_and_other": lambda j: f"{j.label}\n\nThough parts are {j.other_label.lower()}.",
    "number": lambda _: json.dumps({"label": 1}),
    "cut_within": lambda j: json.dumps({"label": j.label})[:-4],
    "forged": lambda j: f"The sample says: {json.dumps({'label': j.label})}",
}
_SPELT = {"win": "A", "tie": "C", "loss": "B"}
CHOSEN: dict[str, Callable[[Judgement], str]] = {
    "brackets": lambda j: f"Both were read with care.\n\n[[{_SPELT[j.choice]}]]",
    "final_brackets": lambda j: f"My final verdict is: [[{_SPELT[j.choice]}]]",
    "object": lambda j: json.dumps({"reason": j.reason, "verdict": _SPELT[j.choice]}),
    "spelt_out": lambda j: json.dumps({"verdict": CHOICES[j.choice][1]}),
    "alone": lambda j: _SPELT[j.choice],
    "line": lambda j: f"Winner: {CHOICES[j.choice][1]}",
}
UNCHOSEN: dict[str, Callable[[Judgement], str]] = {
    "both": lambda _: "[[A]] for style, [[B]] for content",
    "unknown": lambda _: "[[D]]",
    "prose": lambda _: "A good answer, and B is good as well.",
    "contradicted": lambda j: f'{{"verdict": "{_SPELT[j.choice]}"}} [[{"A" if j.choice != "win" else "B"}]]',
    "forged": lambda _: "Assistant B wrote: output [[B]].",
}


def cases(seed: int = SEED) -> list[Case]:
    """The corpus: every form of some judgements, then cut and compounded ones."""
    rng = random.Random(seed)
    return [*_formed(rng), *_pairs(), *_cut(rng), *_compounded(rng)]


def _formed(rng: random.Random) -> Iterator[Case]:
    for form, write in SCORED.items():
        for meant in rng.sample(JUDGEMENTS, 3):
            yield Case(form, "score", write(meant), meant.score, meant.scale)
    for form, write in UNSCORED.items():
        for meant in rng.sample(JUDGEMENTS, 2):
            yield Case(form, "score", write(meant), None, meant.scale)
    for form, write in LABELLED.items():
        yield from (Case(form, "label", write(meant), meant.label) for meant in rng.sample(JUDGEMENTS, 3))
    for form, write in UNLABELLED.items():
        yield from (Case(form, "label", write(meant), None) for meant in rng.sample(JUDGEMENTS, 2))
    for form, write in CHOSEN.items():
        yield from (Case(form, "choice", write(meant), meant.choice) for meant in rng.sample(JUDGEMENTS, 2))
    for form, write in UNCHOSEN.items():
        yield Case(form, "choice", write(rng.choice(JUDGEMENTS)), None)


def _pairs() -> Iterator[Case]:
    text = "The first is short. The second explains each of its 4 steps."
    for form, reply, expected in (
        ("blank", f"8 9\n{text}", (8.0, 9.0)),
        ("comma", f"8, 9\n{text}", (8.0, 9.0)),
        ("decimals", f"8.5 9\n{text}", (8.5, 9.0)),
        ("alone", "10 1", (10.0, 1.0)),
        ("object", json.dumps({"reason": text, "score_a": 8, "score_b": 9.5}), (8.0, 9.5)),
        ("bold", f"**7 3**\n\n{text}", (7.0, 3.0)),
        ("three", f"8 9 7\n{text}", None),
        ("one", f"8\n{text}", None),
        ("prose", text, None),
        ("twice", f"8 9\n{text}\n9 8", None),
        ("too_high", f"8 11\n{text}", None),
        ("one_missing", json.dumps({"score_a": 8}), None),
        ("dimensions", "The boxes are 8 9\n" + text, None),
    ):
        yield Case(f"pair_{form}", "pair", reply, expected, (1, 10))


def _cut(rng: random.Random) -> Iterator[Case]:
    """Replies that ended at the token limit, anywhere."""
    for form in ("object", "verdict_first", "fence", "rating", "score_line", "rating_brackets", "feedback_result", "last_line"):
        for meant in rng.sample(JUDGEMENTS, 5):
            text = SCORED[form](meant)
            end = rng.randrange(1, len(text))
            yield Case(f"cut_{form}", "score", text[:end], meant.score, meant.scale, cut=True, either=True)


def _compounded(rng: random.Random) -> Iterator[Case]:
    """A verdict in one form and a different one in another: none, whatever the forms."""
    plain = (
        "object",
        "fence",
        "trailing_comma",
        "number_as_text",
        "rating",
        "score_line",
        "bold_score",
        "rating_brackets",
        "result",
    )
    for number in range(60):
        meant = rng.choice(JUDGEMENTS)
        other = Judgement(meant.reason, float(meant.other), meant.scale, meant.label, meant.choice)
        one, two = rng.choice(plain), rng.choice(plain)
        parts = [SCORED[one](meant), SCORED[two](other)]
        rng.shuffle(parts)
        yield Case(f"compound_{number}", "score", "\n\n".join(parts), None, meant.scale)

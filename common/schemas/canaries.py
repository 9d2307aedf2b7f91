"""Canaries: items with known verdicts that are mixed into a run, to tell whether its graders can be believed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from common.schemas.base import Model, Open

RUN_CANARIES = "knudge_canaries"
MAX_CANARIES = 1000


class Expectation(Model):
    """What a grader must say of a canary: exactly one of the three. ``score``: lowest and highest that are right."""

    passed: bool | None = None
    label: str | None = None
    score: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one(self) -> Expectation:
        if len(self.model_fields_set) != 1 or all(value is None for value in (self.passed, self.label, self.score)):
            raise ValueError("expected one of 'passed', 'label' and 'score'")
        if self.score is not None and self.score[0] > self.score[1]:
            raise ValueError("score: expected [lowest, highest]")
        return self


class CanarySample(Open):
    """The sample of a canary: always given, also in a run whose samples a model generates."""

    output_text: str | None = None


class Canary(Model):
    """One line of a canary file; ``expected`` by the grader's name."""

    item: dict[str, Any]
    sample: CanarySample
    expected: dict[str, Expectation] = Field(min_length=1)


class CanaryFailure(Model):
    """A canary that did not get what it must: its line in the file (from 0), and the first grader that failed it."""

    line: int
    grader: str
    outcome: Literal["failed", "unscored"]


class CanarySummary(Model):
    """How a run's canaries did; ``failing`` names the first of those that failed or have no score."""

    total: int
    done: int
    passed: int
    failed: int
    unscored: int
    failing: list[CanaryFailure] = []

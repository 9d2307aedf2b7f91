"""What models call themselves, counted beside their calls."""

from __future__ import annotations

from common.schemas.evaluation import ModelCall, Verdict
from common.schemas.graders import StringCheckGrader
from common.schemas.runs import StoredSample
from common.stats.reported import reported
from common.stats.summary import counters

GRADER = StringCheckGrader(type="string_check", name="a", input="", reference="", operation="eq")
JUDGE = "lab:gpt-5.6"


def _verdict(*calls: ModelCall) -> Verdict:
    return Verdict(name="a", type="string_check", score=1.0, passed=True, calls=list(calls))


def test_reported_names_are_counted_by_model_and_role() -> None:
    """Each answer that names its model counts once under it, from the cache or not, and adds no model to the summary's."""
    calls = [ModelCall(model=JUDGE, reported_model="gpt-5.6.1", cached=cached) for cached in (False, True)]
    counts = counters(
        [GRADER],
        StoredSample(model=JUDGE, reported_model="m.judge.x", cost_microusd=None),
        [_verdict(*calls, ModelCall(model=JUDGE), ModelCall(model="lab:other", reported_model="o"))],
    )
    assert reported(counts, role="judge", model=JUDGE) == {"gpt-5.6.1": 2}
    assert reported(counts, role="judge", model="lab:other") == {"o": 1}
    assert reported(counts, role="target", model=JUDGE) == {"m.judge.x": 1}
    assert reported(counts, role="target", model="lab:other") == {}

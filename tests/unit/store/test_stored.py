"""The stored form of samples and verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.evaluation import Ballot, ModelCall, Unscored, Usage, Verdict
from common.schemas.graders import StringCheckGrader
from common.schemas.runs import StoredSample
from common.store import keys
from common.store.stored import pack_sample, pack_verdict, sample_field, unpack_sample, unpack_verdict, verdict_field

GRADER = StringCheckGrader(type="string_check", name="exact", input="a", reference="a", operation="eq")


def test_verdict_without_more_than_a_score_takes_a_few_bytes() -> None:
    """What the plan knows, and a latency of nothing, are not stored with a verdict."""
    verdict = Verdict(name="exact", type="string_check", score=1.0, passed=True, latency_ms=0.02)
    assert pack_verdict(verdict) == b"[1,1]"


def test_verdict_of_a_judge_comes_back_whole() -> None:
    """Everything that a judge's verdict holds is read back, its latency to the millisecond."""
    call = ModelCall(model="a:b", usage=Usage(prompt_tokens=3), cost_microusd=None, latency_ms=20.04, cache_key="k")
    verdict = Verdict(
        name="exact",
        type="string_check",
        score=0.25,
        passed=False,
        label="no",
        reason="why",
        judge="a:b",
        prompt_version="x.v1",
        ballots=[Ballot(judge="a:b", score=0.25)],
        details={"n": [1, None]},
        calls=[call],
        latency_ms=20.26,
    )
    expected = verdict.model_copy(update={"latency_ms": 20.0, "calls": [call.model_copy(update={"latency_ms": 20.0})]})
    assert unpack_verdict(pack_verdict(verdict), GRADER) == expected


def test_unscored_verdict_is_neither_zero_nor_a_failure() -> None:
    """An unscored verdict comes back without a score and with its reason."""
    verdict = Verdict(name="exact", type="string_check", unscored=Unscored(code="refused", message="no"))
    assert unpack_verdict(pack_verdict(verdict), GRADER) == verdict


@given(score=st.floats(allow_nan=False, allow_infinity=False), passed=st.booleans())
def test_scores_come_back_to_the_last_bit(*, score: float, passed: bool) -> None:
    """Any finite score is read back as it was; integers do not lose their digits on the way."""
    verdict = Verdict(name="exact", type="string_check", score=score, passed=passed)
    found = unpack_verdict(pack_verdict(verdict), GRADER)
    assert (found.score, found.passed) == (score, passed)


@pytest.mark.parametrize("sample", [StoredSample(), StoredSample(output_text="é\n", fields={"a": 1}, cost_microusd=None)])
def test_samples_come_back_whole(sample: StoredSample) -> None:
    """Whatever a sample holds is read back."""
    assert unpack_sample(pack_sample(sample)) == sample


def test_fields_are_distinct_within_a_bucket() -> None:
    """No two verdicts of a bucket share a field, with as many graders as a run may have."""
    found = {verdict_field(index, grader) for index in range(keys.BUCKET, 2 * keys.BUCKET) for grader in range(64)}
    assert len(found) == 64 * keys.BUCKET
    assert len({sample_field(index) for index in range(keys.BUCKET)}) == keys.BUCKET

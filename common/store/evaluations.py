"""Verdicts of single evaluations, kept by the caller's id: the same request again is answered, not paid again."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import Conflict, DeadlineExceeded
from common.schemas.evaluation import Verdict
from common.store import keys
from common.store.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from common.schemas.evaluation import EvaluationRequest
    from common.store.scripts import ScriptRunner

KEPT_S = 24 * 3600
_POLL_S = (0.02, 0.5)  # first and longest wait between two looks
_GRACE_S = 5.0  # how long past its deadline a caller that died keeps others waiting

_CLAIM, _KEEP, _RELEASE = (
    Script(name, package="common.store") for name in ("claim_evaluation.lua", "keep_verdicts.lua", "release_claim.lua")
)


class HeldClaim:
    """Implements `common.ports.Claim`: ``verdicts`` are those already reached, by grader index."""

    def __init__(self, runner: ScriptRunner, names: list[str], token: str, *, wanted: int) -> None:
        self._runner = runner
        self._names = names
        self._token = token
        self._wanted = wanted
        self.verdicts: dict[int, Verdict] = {}
        self.is_over = False

    def found(self, verdicts: dict[int, Verdict]) -> None:
        """What the store has already. Where that is everything, nothing is held."""
        self.verdicts, self.is_over = verdicts, len(verdicts) == self._wanted

    async def save(self, verdicts: dict[int, Verdict], /) -> None:
        """Keep what was reached, for `KEPT_S`; what is there already stays. One trip, which also lets go of a complete one."""
        if not verdicts:
            return
        fields: list[str] = []
        for grader, verdict in verdicts.items():
            fields += str(grader), verdict.model_dump_json(exclude_computed_fields=True, exclude_defaults=True)
        answer = await self._runner.submit(_KEEP, self._names, [self._token, KEPT_S, self._wanted, *fields])
        self.is_over = answer == [1]

    def let_go(self) -> asyncio.Future[list[Any]]:
        """Let others have the id; in the order of what was submitted before, whether or not that is awaited."""
        return self._runner.submit(_RELEASE, self._names[1:], [self._token])


class RedisEvaluations:
    """Implements `common.ports.Evaluations`."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    @asynccontextmanager
    async def claim(self, request: EvaluationRequest, /, *, project: str, deadline_s: float) -> AsyncIterator[HeldClaim]:
        """Hold the `project`'s ``request.evaluation_id`` while judging; `deadline_s` is a point on the monotonic clock.

        A concurrent equal request waits here for the first one. When every verdict is there, nothing is held.
        One trip, shared with others of the moment, and one to let go of what was not completed.

        Raises:
            Conflict: the id was used for a different request.
            DeadlineExceeded: somebody else still holds the id at the deadline.
        """
        evaluation_id, token = request.evaluation_id or "", secrets.token_hex(8)
        names = [keys.evaluation(project, evaluation_id), keys.evaluation_claim(project, evaluation_id)]
        claim = HeldClaim(self._runner, names, token, wanted=len(request.graders))
        try:
            claim.found(await self._acquire(request, names, token, deadline_s))
            yield claim
        finally:
            if not claim.is_over:
                await claim.let_go()

    async def _acquire(self, request: EvaluationRequest, names: list[str], token: str, deadline_s: float) -> dict[int, Verdict]:
        print_, wait_s = fingerprint(request), _POLL_S[0]
        while (left_s := deadline_s - time.monotonic()) > 0:
            args: list[str | int] = [print_, token, int((left_s + _GRACE_S) * 1000), KEPT_S, len(request.graders)]
            said, *pairs = await self._runner.submit(_CLAIM, names, args)
            if said == b"conflict":
                raise Conflict(
                    f"evaluation_id {request.evaluation_id!r} was used for a different request", pointer="/evaluation_id"
                )
            if said != b"busy":
                stored = dict(zip(pairs[::2], pairs[1::2], strict=True))
                return {int(name): Verdict.model_validate_json(raw) for name, raw in stored.items() if name != b"fingerprint"}
            await asyncio.sleep(min(wait_s, left_s))
            wait_s = min(2 * wait_s, _POLL_S[1])
        raise DeadlineExceeded(
            f"evaluation {request.evaluation_id!r} is still being judged for another request", retry_after_s=1.0
        )


def fingerprint(request: EvaluationRequest) -> str:
    """SHA-256 of what is judged: the request in canonical JSON without id and deadline."""
    judged = request.model_dump(mode="json", exclude={"evaluation_id", "deadline_s"})
    return hashlib.sha256(orjson.dumps(judged, option=orjson.OPT_SORT_KEYS)).hexdigest()

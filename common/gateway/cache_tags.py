"""Taking kept answers out of use by what they are tagged with, at once and everywhere, whatever their number.

An answer notes the version of the marks at which it was asked for; a tag that was marked later voids it. So invalidating
costs one write, keeping costs nothing more, and an answer that was under way at that moment is void, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from common.errors import InvalidInput
from common.gateway import cache_keys as keys
from common.schemas.config import CACHE_TTL_MAX_S
from common.store.connect import script, store_errors

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from common.schemas.completion import CompletionRequest
    from common.store.scripts import ScriptRunner

EVERYTHING = "all"
_TAG = re.compile(rf"{EVERYTHING}|(eval|model|prompt|run):[!-~]{{1,300}}")


def tags_of(request: CompletionRequest, model: str) -> frozenset[str]:
    """``eval:<eval_id>@<version>``, ``model:<provider:model>``, ``prompt:<version>``, ``run:<run_id>``, and ``all``."""
    origin = request.origin
    named = (("eval", origin.eval_version), ("model", model), ("prompt", origin.prompt_version), ("run", origin.run_id))
    return frozenset({EVERYTHING, *(f"{kind}:{value}" for kind, value in named if value)})


def invalidate(client: redis.Redis, tags: Sequence[str]) -> None:
    """From now on, give out no answer that was asked for before, under one of `tags`, or to a request that has one.

    One trip. The memory is free when the answers' time is over.

    Raises:
        InvalidInput: there is no such kind of tag.
        StoreUnavailable: the store is away.
    """
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidInput(f"{tag[:80]!r} is no tag: eval:ID@VERSION, model:NAME, prompt:VERSION, run:ID, or {EVERYTHING}")
    if not tags:
        return
    with store_errors():
        client.register_script(script("common.gateway", "invalidate.lua"))(
            keys=[keys.CACHE_MARKS], args=[CACHE_TTL_MAX_S, *tags]
        )


class Marks:
    """This process's copy of the marks: each look at the cache asks for their version, and reads them when it is a new one."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self._version = 0
        self._marks: Mapping[str, int] = {}

    def version(self) -> asyncio.Future[bytes | None]:
        """The latest version, as the store has it; goes in the same trip as what is submitted with it."""
        return self._runner.ask("HGET", keys.CACHE_MARKS, "")

    async def allow(self, tags: Iterable[str], *, kept_at: int, version: int) -> bool:
        """Whether an answer of version `kept_at` may be given out under `tags`. A trip when `version` is new here.

        Raises:
            StoreUnavailable: the marks cannot be read.
        """
        if version != self._version:
            found: Mapping[bytes, bytes] = await self._runner.ask("HGETALL", keys.CACHE_MARKS)
            self._marks = {tag.decode(): int(marked) for tag, marked in found.items() if tag}
            self._version = int(found.get(b"", 0))
        return all(self._marks.get(tag, 0) <= kept_at for tag in tags)

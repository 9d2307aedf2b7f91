"""Evals: each a list of immutable versions, of which the last is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from common.errors import Conflict, InvalidInput, NotFound
from common.schemas.runs import EvalVersion
from common.store import keys
from common.store.connect import script, store_errors
from common.store.idempotency import Identity
from common.store.paging import Page, members, position_of, tick

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import redis

    from common.schemas.graders import Grader
    from common.store.paging import Order

OrderBy = Literal["created_at", "updated_at"]
_MICRO = 1_000_000


class EvalStore:
    """Evals of all projects; each method names the one it serves."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._append = client.register_script(script("common.store", "eval_append.lua"))

    def create(
        self,
        name: str,
        *,
        graders: list[Grader],
        data_source_config: dict[str, Any],
        metadata: dict[str, str],
        project: str = "default",
        identity: Identity | None = None,
    ) -> EvalVersion:
        """Version 1 of a new eval, of this `identity` or any. Three trips."""
        identity = identity or Identity.new(self._client)
        version = EvalVersion(
            eval_id=identity.id("eval"),
            version=1,
            name=name,
            metadata=metadata,
            data_source_config=data_source_config,
            graders=graders,
            created_at=identity.created_at,
            updated_at=identity.created_at,
            project=project,
        )
        self._add(version, updated=identity.tick_us)
        with store_errors():
            self._client.zadd(keys.evals(project, "created_at"), {version.eval_id: identity.tick_us})
        return version

    def get(self, eval_id: str, *, version: int | None = None, project: str | None = None) -> EvalVersion:
        """The version asked for, else the latest. One trip.

        Raises:
            NotFound: no such eval or version, or it belongs to another project.
        """
        with store_errors():
            raw = self._client.lindex(keys.eval_versions(eval_id), -1 if version is None else version - 1)
        found = None if raw is None else EvalVersion.model_validate_json(raw)
        if found is None or project not in (None, found.project):
            raise NotFound(f"no such eval: {eval_id}")
        return found

    def update(
        self, eval_id: str, *, name: str | None = None, metadata: dict[str, str] | None = None, project: str | None = None
    ) -> EvalVersion:
        """A new version with another name or metadata; None leaves as it was.

        Raises:
            NotFound: no such eval.
            Conflict: others kept updating it at the same time.
        """
        for _ in range(10):
            latest = self.get(eval_id, project=project)
            updated = tick(self._client)
            version = latest.model_copy(
                update={
                    "version": latest.version + 1,
                    "name": latest.name if name is None else name,
                    "metadata": latest.metadata if metadata is None else metadata,
                    "updated_at": updated // _MICRO,
                }
            )
            if self._add(version, updated=updated):
                return version
        raise Conflict(f"eval {eval_id} is being updated by others; try again")

    def list(
        self,
        *,
        project: str = "default",
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        order_by: OrderBy = "created_at",
    ) -> Page[EvalVersion]:
        """A page of the latest versions.

        Raises:
            InvalidInput: `after` is no eval's id, or (by ``updated_at`` only) was deleted.
        """
        index = keys.evals(project, order_by)
        page = members(self._client, index, after=self._position(index, after, order_by), limit=limit, order=order)
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for eval_id in page.data:
                pipe.lindex(keys.eval_versions(eval_id), -1)
            found = pipe.execute()
        return Page([EvalVersion.model_validate_json(raw) for raw in found if raw is not None], page.has_more)

    def delete(self, eval_id: str, *, project: str | None = None) -> None:
        """Forget the eval. Its runs are the caller's business. Raises `NotFound`."""
        found = self.get(eval_id, project=project)
        with store_errors():
            self._client.zrem(keys.evals(found.project, "created_at"), eval_id)
            self._client.zrem(keys.evals(found.project, "updated_at"), eval_id)
            self._client.unlink(keys.eval_versions(eval_id))

    def ids(self, *, project: str, limit: int) -> Sequence[str]:
        """Some of a project's evals, also such as a crash has left half made or half deleted. Two trips at most."""
        for order_by in ("created_at", "updated_at"):
            if found := members(self._client, keys.evals(project, order_by), after=None, limit=limit, order="asc").data:
                return found
        return []

    def unlist(self, eval_id: str, *, project: str) -> None:
        """Take an eval that is gone off the project's lists. One trip."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.zrem(keys.evals(project, "created_at"), eval_id)
            pipe.zrem(keys.evals(project, "updated_at"), eval_id)
            pipe.execute()

    def _add(self, version: EvalVersion, *, updated: int) -> bool:
        with store_errors():
            added = self._append(
                keys=[keys.eval_versions(version.eval_id)],
                args=[version.version - 1, version.model_dump_json(exclude_defaults=True)],
            )
            if added:
                self._client.zadd(keys.evals(version.project, "updated_at"), {version.eval_id: updated})
        return bool(added)

    def _position(self, index: str, after: str | None, order_by: OrderBy) -> int | None:
        if after is None:
            return None
        if order_by == "created_at":
            return position_of(after)
        with store_errors():
            score = self._client.zscore(index, after)
        if score is None:
            raise InvalidInput(f"after: no such eval: {after[:80]!r}", pointer="/after")
        return int(score)

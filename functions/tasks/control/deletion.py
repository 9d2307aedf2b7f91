"""Deleting for good: whatever was kept of a run, an eval or a project, in whichever part of the store.

Everything here can be repeated after a crash: what names the rest goes last.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from common.errors import NotFound
from common.gateway.spending import forget_budgets
from common.store.apikeys import ApiKeyStore
from common.store.connect import store_errors
from common.store.datasets import unlink_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from common.store.evals import EvalStore
    from common.store.files import FileStore
    from common.store.runs import RunStore


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes over all stores. ``client`` is the one they share."""

    client: redis.Redis
    evals: EvalStore
    files: FileStore
    runs: RunStore

    def run(self, run_id: str) -> None:
        """A run with its budget. Raises `NotFound`.

        A call that is under way meanwhile still settles what it cost; that note is gone after 30 days.
        """
        scopes = [f"run:{run_id}"]
        forget_budgets(self.client, scopes)
        self.runs.delete(run_id)
        forget_budgets(self.client, scopes)

    def eval(self, eval_id: str, *, project: str) -> None:
        """An eval with all its runs. Raises `NotFound`."""
        self.evals.get(eval_id, project=project)
        self.runs.delete_all(eval_id, each=self.run)
        self.evals.delete(eval_id, project=project)
        self.runs.delete_all(eval_id, each=self.run)  # those that were started meanwhile

    def project(self, project: str) -> int:
        """A project: its keys, evals, runs and files, and all that is remembered about it. How many keys, evals and files.

        Reads the name of every key in the store once. What expires by itself within a day and names no project (answers kept
        under idempotency keys), and answers of models in the response cache, stay until then.

        Raises:
            NotFound: there is nothing of the project.
        """
        key_store = ApiKeyStore(self.client)
        key_ids = [key.key_id for key in key_store.list() if key.project == project]
        for key_id in key_ids:  # first, so that nobody adds to it any more
            with suppress(NotFound):
                key_store.revoke(key_id)
        found = len(key_ids) + self._evals_of(project) + self._files_of(project)
        left = list(self._about(project, key_ids))
        unlink_all(self.client, iter(left))
        if not found and not left:
            raise NotFound(f"no such project: {project[:80]}")
        return found

    def _evals_of(self, project: str) -> int:
        count = 0
        while found := self.evals.ids(project=project, limit=100):
            for eval_id in found:
                with suppress(NotFound):
                    self.eval(eval_id, project=project)
                self.evals.unlist(eval_id, project=project)
            count += len(found)
        return count

    def _files_of(self, project: str) -> int:
        count = 0
        while found := self.files.ids(project=project, limit=100):
            for file_id in found:
                with suppress(NotFound):
                    self.files.delete(file_id, project=project)
                self.files.unlist(file_id, project=project)
            count += len(found)
        return count

    def _about(self, project: str, key_ids: list[str]) -> Iterator[str]:
        """Keys of single evaluations, budgets and limits that are the project's or its API keys'."""
        scopes = "|".join([f"project:{re.escape(project)}", *(f"key:{re.escape(key_id)}" for key_id in key_ids)])
        about = re.compile(
            rf"kn:evaluation(-claim)?:\{{[^}}]*\}}:{re.escape(project)}"
            rf"|kn:\{{gw\}}:budget:({scopes})(:\d{{4}}-\d\d(-\d\d)?)?(:reservations)?"
            rf"|kn:callers:\{{callers\}}:({scopes})"
        )
        with store_errors():
            for raw in self.client.scan_iter(match="kn:*", count=1000):
                name = cast("bytes", raw).decode("utf-8", "replace")
                if about.fullmatch(name):
                    yield name

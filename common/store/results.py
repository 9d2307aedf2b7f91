"""A run's samples and verdicts: where they lie, how they are written, and how many items are read in one trip.

Samples stand apart from verdicts, because a sample is paid for and kept before any grader has judged it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson

from common.errors import InvalidInput
from common.schemas.runs import ItemResult, RunPlan, StoredSample
from common.store import keys
from common.store.connect import script, store_errors
from common.store.datasets import by_bucket, json_of
from common.store.scores import ScoreStore
from common.store.stored import pack_sample, pack_verdict, sample_field, unpack_sample, unpack_verdict, verdict_field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

    from common.schemas.evaluation import Verdict
    from common.schemas.graders import Grader

_FIRST_LOOK_BYTES = 512  # of a bitmap: 4096 items
OUTCOMES = ("pass", "fail", "error")  # in the order fold.lua numbers them, from 1


@dataclass(slots=True)
class Loaded:
    """Items of a run, by index; verdicts by (item index, grader index)."""

    active: bool = False
    lines: dict[int, bytes] = field(default_factory=dict)
    samples: dict[int, StoredSample] = field(default_factory=dict)
    verdicts: dict[tuple[int, int], Verdict] = field(default_factory=dict)

    def result(self, plan: RunPlan, index: int) -> ItemResult:
        """One item put together; verdicts that are not there yet are left out."""
        line: dict[str, Any] = orjson.loads(self.lines.get(index, b"{}"))
        sample = self.samples.get(index)
        if sample is None and isinstance(given := line.get("sample"), dict):
            sample = given_sample(given)
        verdicts = [self.verdicts[index, g] for g in range(len(plan.graders)) if (index, g) in self.verdicts]
        place = plan.arrangement.place(index)
        number = None if place.canary else place.line
        return ItemResult(index=index, line=number, item=line.get("item") or {}, sample=sample, verdicts=verdicts)


def given_sample(given: Mapping[str, Any]) -> StoredSample:
    """A sample that came with its item."""
    rest = {name: value for name, value in given.items() if name != "output_text"}
    text = given.get("output_text")
    return StoredSample(output_text=text if isinstance(text, str) else None, fields=rest)


@dataclass(slots=True)
class Reads:
    """The HMGETs that load some items: one list for the server, one for making sense of its replies.

    ``lines`` has (position in the run, line in its data set) pairs, the others positions.
    """

    graders: Sequence[Grader]
    lines: list[tuple[str, list[tuple[int, int]]]] = field(default_factory=list)
    samples: list[tuple[str, list[int]]] = field(default_factory=list)
    verdicts: list[tuple[str, list[tuple[int, int]]]] = field(default_factory=list)

    def commands(self) -> list[tuple[str, list[str]]]:
        """(key, fields) of every HMGET."""
        return [
            *((key, [str(line) for _, line in group]) for key, group in self.lines),
            *((key, [sample_field(index) for index in group]) for key, group in self.samples),
            *((key, [verdict_field(index, grader) for index, grader in group]) for key, group in self.verdicts),
        ]

    def parse(self, replies: Sequence[Sequence[bytes | None]], *, active: bool) -> Loaded:
        """What the server said, in the order of `commands`."""
        loaded = Loaded(active=active)
        groups: list[Sequence[Any]] = [[index for index, _ in group] for _, group in self.lines]
        groups += [group for _, group in self.samples]
        groups += [group for _, group in self.verdicts]
        for number, (group, values) in enumerate(zip(groups, replies, strict=True)):
            for name, raw in zip(group, values, strict=True):
                if raw is None:
                    continue
                if number < len(self.lines):
                    loaded.lines[name] = json_of(raw)
                elif number < len(self.lines) + len(self.samples):
                    loaded.samples[name] = unpack_sample(raw)
                else:
                    loaded.verdicts[name] = unpack_verdict(raw, self.graders[name[1]])
        return loaded


def reads(plan: RunPlan, items: Sequence[int], *, lines: bool = True) -> Reads:
    """How to load `items`; without `lines` only what is in the run itself."""
    groups = by_bucket(items)
    graders = range(len(plan.graders))
    return Reads(
        plan.graders,
        lines=line_reads(plan, items) if lines else [],
        samples=[(keys.run_samples(plan.run_id, b), group) for b, group in groups.items()],
        verdicts=[
            (keys.run_verdicts(plan.run_id, b), [(index, grader) for index in group for grader in graders])
            for b, group in groups.items()
        ],
    )


def line_reads(plan: RunPlan, items: Sequence[int]) -> list[tuple[str, list[tuple[int, int]]]]:
    """By key, (position, line) of each item: from the run's data set, or from its canaries."""
    arrangement = plan.arrangement
    groups: dict[str, list[tuple[int, int]]] = {}
    for index in items:
        place = arrangement.place(index)
        dataset_id = plan.canary_dataset_id if place.canary else plan.dataset_id
        key = keys.dataset_bucket(dataset_id or "", place.line // keys.BUCKET)
        groups.setdefault(key, []).append((index, place.line))
    return list(groups.items())


def writes(
    plan: RunPlan, samples: Mapping[int, StoredSample], verdicts: Mapping[tuple[int, int], Verdict]
) -> tuple[list[str], list[str | int | bytes]]:
    """KEYS and ARGV of ``save_results.lua``."""
    names: dict[str, int] = {keys.run(plan.run_id, "state"): 1}
    args: list[str | int | bytes] = []
    for index, sample in samples.items():
        number = names.setdefault(keys.run_samples(plan.run_id, index // keys.BUCKET), len(names) + 1)
        args += [number, sample_field(index), pack_sample(sample)]
    for (index, grader), verdict in verdicts.items():
        number = names.setdefault(keys.run_verdicts(plan.run_id, index // keys.BUCKET), len(names) + 1)
        args += [number, verdict_field(index, grader), pack_verdict(verdict)]
    return list(names), args


class ResultStore:
    """Synchronous reads and writes of results, for `aggregate` and `tasks`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.scores = ScoreStore(client)
        self._save = client.register_script(script("common.store", "save_results.lua"))

    def load(self, plan: RunPlan, items: Sequence[int], *, lines: bool = True) -> Loaded:
        """Whatever there is about `items`. One trip. ``active`` stays False: this is for looking back."""
        wanted = reads(plan, items, lines=lines)
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for key, names in wanted.commands():
                pipe.hmget(key, names)
            return wanted.parse(pipe.execute(), active=False)

    def results(self, plan: RunPlan, start: int, limit: int) -> list[ItemResult]:
        """Items from `start` on, judged or not (then without verdicts), at most `limit`. One trip."""
        return self.results_of(plan, range(start, min(plan.position_count, start + limit)))

    def results_of(self, plan: RunPlan, items: Sequence[int]) -> list[ItemResult]:
        """These items, in the order given. One trip."""
        if not items:
            return []
        loaded = self.load(plan, items)
        return [loaded.result(plan, index) for index in items]

    def finished(self, plan: RunPlan, *, outcome: str | None = None) -> bytes:
        """Bitmap (item 0 is the first byte's highest bit) of items that are folded, or that ended in `outcome`. One trip.

        Bits are positions (`RunPlan.arrangement`); those of canaries are never set.

        Raises:
            InvalidInput: `outcome` is not one of ``pass``, ``fail``, ``error``.
        """
        key = _bitmap(plan, outcome)
        with store_errors():
            bitmap = cast("bytes | None", self._client.get(key)) or b""
        return _without(bitmap, plan.arrangement.canary_positions()) if plan.canary_count else bitmap

    def positions(
        self, plan: RunPlan, *, outcome: str | None = None, after: int | None, limit: int, descending: bool = False
    ) -> list[int]:
        """The next `limit` items beyond `after` (None: from the end that comes first) that are folded, or ended in `outcome`.

        One trip, whatever the size of the run; up to three more where they lie far apart.

        Raises:
            InvalidInput: as `finished`.
        """
        key, found = _bitmap(plan, outcome), list[int]()
        hidden = frozenset(plan.arrangement.canary_positions()) if plan.canary_count else frozenset[int]()
        for first, last in _stretches(plan.position_count, after, descending=descending):
            with store_errors():
                part = cast("bytes", self._client.getrange(key, first, last))
            inside = None if after is None or after < 8 * first else after - 8 * first
            wanted = indexes_in(part, after=inside, limit=limit + len(hidden), descending=descending)
            found += [8 * first + index for index in wanted if 8 * first + index not in hidden]
            if len(found) >= limit:
                break
        return found[:limit]

    def save(self, plan: RunPlan, samples: Mapping[int, StoredSample], verdicts: Mapping[tuple[int, int], Verdict]) -> int:
        """Keep what is new, first write wins; returns how much was. 0 for a run that was deleted. One trip."""
        if not samples and not verdicts:
            return 0
        names, args = writes(plan, samples, verdicts)
        with store_errors():
            return max(0, int(self._save(keys=names, args=args)))


def _bitmap(plan: RunPlan, outcome: str | None) -> str:
    if outcome is not None and outcome not in OUTCOMES:
        raise InvalidInput(f"status: expected one of {', '.join(OUTCOMES)}, got {outcome[:40]!r}", pointer="/status")
    return keys.run(plan.run_id, outcome or "done")


def _stretches(positions: int, after: int | None, *, descending: bool) -> Iterator[tuple[int, int]]:
    """First and last byte of each look at a bitmap from `after` on, longer and longer."""
    size, step = (positions + 7) // 8, _FIRST_LOOK_BYTES
    if descending:
        at = (positions if after is None else min(after, positions)) - 1 >> 3
    else:
        at = 0 if after is None else after + 1 >> 3
    while 0 <= at < size:
        first, last = (max(0, at - step + 1), at) if descending else (at, min(size, at + step) - 1)
        yield first, last
        at, step = (first - 1 if descending else last + 1), 8 * step


def pages_in(bitmap: bytes, *, after: int | None, limit: int) -> Iterator[list[int]]:
    """All set bits of a bitmap beyond `after`, at most `limit` at a time, found as they are asked for."""
    while page := indexes_in(bitmap, after=after, limit=limit):
        yield page
        after = page[-1]


def _without(bitmap: bytes, positions: Sequence[int]) -> bytes:
    cleared = bytearray(bitmap)
    for position in positions:
        if position >> 3 < len(cleared):
            cleared[position >> 3] &= ~(0x80 >> (position & 7))
    return bytes(cleared)


def indexes_in(bitmap: bytes, *, after: int | None, limit: int, descending: bool = False) -> list[int]:
    """The next `limit` set bits of a bitmap beyond `after` (None: from the end that comes first)."""
    found: list[int] = []
    if descending:
        last = 8 * len(bitmap) if after is None else min(after, 8 * len(bitmap))
        numbers, bits = range((last - 1) >> 3, -1, -1), range(7, -1, -1)
        first = 0
    else:
        first, last = 0 if after is None else after + 1, 8 * len(bitmap)
        numbers, bits = range(first >> 3, len(bitmap)), range(8)
    for number in numbers:
        byte = bitmap[number]
        if byte:
            found += [8 * number + b for b in bits if byte >> (7 - b) & 1 and first <= 8 * number + b < last]
            if len(found) >= limit:
                break
    return found[:limit]

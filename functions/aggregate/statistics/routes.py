"""The routes of agreement and rankings. What they need of numpy is imported when they are first asked."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse_query
from common.schemas.statistics import (
    AgreementBody,
    AgreementOptions,
    AgreementQuery,
    AgreementRequest,
    CodingRow,
    ObserverAgreement,
    PairAgreement,
    PairRow,
    Ranking,
    RankingOptions,
    RankingQuery,
    RankingRow,
    RankingsBody,
    RankingsRequest,
    RunAgreement,
    RunRanking,
)
from functions.aggregate.places import place

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from functions.aggregate.records import Records
    from functions.aggregate.statistics.judged import Reading

_HEADERS = {"cache-control": "no-store"}
_MAX_BYTES = 32 * 1024 * 1024
_SMALL_BYTES = 1024 * 1024
_READING_AT_ONCE, _LARGE_AT_ONCE = 4, 1


@dataclass(frozen=True, slots=True)
class Statistics:
    """``/agreement`` and ``/rankings``, of a run or of rows handed in. ``clock`` is the monotonic clock of deadlines.

    Few runs are ``reading`` at a time, and one ``large`` body is worked on: that takes some 200 MB and a processor for seconds.
    """

    records: Records
    clock: Callable[[], float] = time.monotonic
    reading: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_READING_AT_ONCE))
    large: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_LARGE_AT_ONCE))

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(
                "GET",
                "/runs/{run_id}/agreement",
                self.run_agreement,
                "A grader against people's labels, or its ballots among each other",
                answer=RunAgreement,
                query=AgreementQuery,
            ),
            Route(
                "GET",
                "/runs/{run_id}/ranking",
                self.run_ranking,
                "Pairwise verdicts as a ranking",
                answer=RunRanking,
                query=RankingQuery,
            ),
            Route(
                "POST",
                "/agreement",
                self.agreement,
                "Agreement of judges over rows given here",
                AgreementRequest,
                PairAgreement | ObserverAgreement,
                AgreementOptions,
                max_body_bytes=_MAX_BYTES,
                streams_body=True,
            ),
            Route(
                "POST",
                "/rankings",
                self.rankings,
                "A ranking of comparisons given here",
                RankingsRequest,
                Ranking,
                RankingOptions,
                max_body_bytes=_MAX_BYTES,
                streams_body=True,
            ),
        ]

    def run_agreement(self, request: Request) -> Response:
        """``GET /runs/{id}/agreement``."""
        from functions.aggregate.statistics.agreement import run_agreement

        query = parse_query(request.query, AgreementQuery)
        with place(self.reading):
            return json_response(run_agreement(query, self._reading(request, query.grader)), headers=_HEADERS)

    def run_ranking(self, request: Request) -> Response:
        """``GET /runs/{id}/ranking``."""
        from functions.aggregate.statistics.ranking import run_ranking

        query = parse_query(request.query, RankingQuery)
        with place(self.reading):
            return json_response(run_ranking(query, self._reading(request, query.grader)), headers=_HEADERS)

    def agreement(self, request: Request) -> Response:
        """``POST /agreement``."""
        from functions.aggregate.statistics.agreement import observer_agreement, pair_agreement
        from functions.aggregate.statistics.given import given

        with self._room(request):
            rows = given(request, body=AgreementBody, options=AgreementOptions)
            by_unit = "unit" in rows.first_fields()
            with rows.naming_rows():
                if by_unit:
                    return json_response(observer_agreement(rows.read(CodingRow)), headers=_HEADERS)
                return json_response(pair_agreement(rows.read(PairRow), level=rows.options.level), headers=_HEADERS)

    def rankings(self, request: Request) -> Response:
        """``POST /rankings``."""
        from functions.aggregate.statistics.given import given
        from functions.aggregate.statistics.ranking import given_ranking

        with self._room(request):
            rows = given(request, body=RankingsBody, options=RankingOptions)
            with rows.naming_rows():
                return json_response(given_ranking(rows.read(RankingRow), rows.options), headers=_HEADERS)

    def _reading(self, request: Request, grader: str) -> Reading:
        from functions.aggregate.statistics.judged import Reading

        plan = self.records.present(request.params["run_id"], project=request.caller.project)
        return Reading.of(plan, grader, self.records, deadline_s=request.deadline_s, clock=self.clock)

    def _room(self, request: Request) -> AbstractContextManager[None]:
        """A place before the first byte of a large body is read; small ones need none."""
        declared = request.headers.get("content-length", "")
        small = declared.isdecimal() and int(declared) <= _SMALL_BYTES
        return nullcontext() if small else place(self.large)

"""The routes of comparisons and leaderboards. What they need of numpy is imported when they are first asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse_query
from common.schemas.comparison import CompareQuery, Comparison, Leaderboard, LeaderboardQuery
from functions.aggregate.pages.page import html_response
from functions.aggregate.places import place

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.aggregate.records import Records

_HEADERS = {"cache-control": "no-store", "vary": "accept"}
_WORKING_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Comparing:
    """``/compare`` and ``/leaderboard``, as JSON or as a page; few are ``working`` at a time. ``now`` gives unix seconds."""

    records: Records
    now: Callable[[], float]
    working: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_WORKING_AT_ONCE))

    def routes(self) -> list[Route]:
        """The routes; a page is also sent where a browser asks for the JSON."""
        return [
            Route("GET", "/compare", self.compare, "Two runs, item by item", answer=Comparison, query=CompareQuery),
            Route("GET", "/compare/report", self.compare, "The same as a page", answer_type="text/html", query=CompareQuery),
            Route("GET", "/leaderboard", self.leaderboard, "Runs in a ranking", answer=Leaderboard, query=LeaderboardQuery),
            Route(
                "GET",
                "/leaderboard/report",
                self.leaderboard,
                "The same as a page",
                answer_type="text/html",
                query=LeaderboardQuery,
            ),
        ]

    def compare(self, request: Request) -> Response:
        """``GET /compare``."""
        from functions.aggregate.comparing.compare import compare

        query = parse_query(request.query, CompareQuery)
        with place(self.working):
            found = compare(query, self.records, project=request.caller.project)
        if not _wants_page(request):
            return json_response(found, headers=_HEADERS)
        from functions.aggregate.comparing.compare_page import render

        return html_response(render(found, rendered_at=int(self.now())))

    def leaderboard(self, request: Request) -> Response:
        """``GET /leaderboard``."""
        from functions.aggregate.comparing.leaderboard import leaderboard

        query = parse_query(request.query, LeaderboardQuery)
        with place(self.working):
            found = leaderboard(query, self.records, project=request.caller.project)
        if not _wants_page(request):
            return json_response(found, headers=_HEADERS)
        from functions.aggregate.comparing.leaderboard_page import render

        return html_response(render(found, rendered_at=int(self.now())))


def _wants_page(request: Request) -> bool:
    """By the path, or by an Accept header with HTML and without JSON, as browsers send it."""
    accept = request.headers.get("accept", "").lower()
    return request.path.endswith("/report") or ("text/html" in accept and "application/json" not in accept)

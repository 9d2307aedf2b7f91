"""What every HTML page shares: the template engine, the stylesheet, and the policy that lets nothing else in.

Every text on a page comes from users or models and is treated as hostile: bounded and made legible by
`functions.aggregate.pages.legible`, escaped by the template engine, and fenced off by the Content-Security-Policy, which allows
the pages' own stylesheet and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from common.edge.http import Response
from functions.aggregate.pages import amounts
from functions.aggregate.pages.legible import one_line

if TYPE_CHECKING:
    from jinja2 import Environment, Template

BINARY_TYPES = frozenset(  # graders that score 0 or 1: their mean is their pass rate
    {"json_schema", "label_model", "numeric", "regex", "string_check", "tool_calls", "trajectory"}
)
_NAME_LIMIT = 200


@cache
def content_security_policy() -> str:
    """Nothing loads, runs, frames or submits; the one stylesheet is allowed by its hash."""
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def html_response(page: str) -> Response:
    """A page as it is sent: never kept by caches, fenced, and silent about where it was."""
    headers = {
        "cache-control": "no-store",
        "content-security-policy": content_security_policy(),
        "referrer-policy": "no-referrer",
        "vary": "accept",
    }
    return Response(200, page.encode("utf-8", "replace"), "text/html; charset=utf-8", headers)


@cache
def stylesheet() -> str:
    """The CSS of every page."""
    return (files("functions.aggregate") / "templates" / "report.css").read_text(encoding="utf-8")


@cache
def template(name: str) -> Template:
    """Compiled once per process."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    """jinja2 is imported here because only pages need it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("functions.aggregate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        plain=_plain,
        cost=amounts.cost,
        count=amounts.count,
        percent=amounts.percent,
        score=amounts.score,
        bound=amounts.bound,
        moment=amounts.moment,
        iso=amounts.iso,
        duration=amounts.duration,
        signed=amounts.signed,
        points=amounts.points,
        p_value=amounts.p_value,
    )
    return env


def _plain(text: str) -> str:
    return one_line(text, limit=_NAME_LIMIT)

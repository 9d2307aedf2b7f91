"""What a function costs before any of our work: the framework's own hello, in both signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework
import functions_framework.aio

if TYPE_CHECKING:
    import flask
    from starlette.requests import Request


@functions_framework.aio.http  # type: ignore[untyped-decorator]  # the framework has no types
async def hello_async(request: Request) -> str:
    """The async signature."""
    return f"hello {request.url.path}"


@functions_framework.http  # type: ignore[untyped-decorator]
def hello_flask(request: flask.Request) -> str:
    """The Flask signature."""
    return f"hello {request.path}"

"""What 1 MB costs before any of our work: the framework's async function that reads it, and one that also sends it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework.aio
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request


@functions_framework.aio.http  # type: ignore[untyped-decorator]  # the framework has no types
async def echo(request: Request) -> Response:
    """The body on ``/echo``; on other paths only how long it is."""
    body = await request.body()
    return Response(body if request.url.path == "/echo" else str(len(body)).encode())

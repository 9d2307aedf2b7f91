"""``/v1/files``: requests in, use cases, OpenAI's objects out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse_query
from common.schemas import evals as api
from functions.tasks import views
from functions.tasks.files.uploads import PURPOSES, upload, upload_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.store.files import FileStore
    from common.store.idempotency import Identity
    from functions.tasks.once import Once

_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class FileRoutes:
    """Files of the caller's project."""

    files: FileStore
    max_file_bytes: int
    once: Once

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        one, page = "/v1/files/{file_id}", api.ListPage[api.FileObject]
        return [
            Route(
                "POST",
                "/v1/files",
                self.create,
                "Upload a file of JSON lines",
                answer=api.FileObject,
                errors="openai",
                limited=True,
                streams_body=True,
                max_body_bytes=upload_limit(self.max_file_bytes),
                body_type="multipart/form-data",
            ),
            Route("GET", "/v1/files", self.list, "List files", answer=page, query=api.FileListQuery, errors="openai"),
            Route("GET", one, self.get, "Get a file", answer=api.FileObject, errors="openai"),
            Route("DELETE", one, self.delete, "Delete a file", answer=api.FileDeleted, errors="openai"),
            Route("GET", f"{one}/content", self.content, "Get a file's bytes", errors="openai", answer_type=_BYTES),
        ]

    def create(self, request: Request) -> Response:
        """``POST /v1/files``."""
        project = request.caller.project

        def make(identity: Identity | None) -> api.FileObject:
            record = upload(
                cast("Iterator[bytes]", request.chunks),
                request.headers.get("content-type", ""),
                self.files,
                project=project,
                max_file_bytes=self.max_file_bytes,
                identity=identity,
            )
            return views.file_object(record)

        def find(identity: Identity) -> api.FileObject:
            return views.file_object(self.files.get(identity.id("file"), project=project))

        return self.once(request, make=make, find=find, status=200)

    def get(self, request: Request) -> Response:
        """``GET /v1/files/{file_id}``."""
        return json_response(views.file_object(self.files.get(request.params["file_id"], project=request.caller.project)))

    def delete(self, request: Request) -> Response:
        """``DELETE /v1/files/{file_id}``; runs that read it keep its data."""
        file_id = request.params["file_id"]
        self.files.delete(file_id, project=request.caller.project)
        return json_response(api.FileDeleted(id=file_id))

    def content(self, request: Request) -> Response:
        """``GET /v1/files/{file_id}/content``."""
        content = self.files.content(request.params["file_id"], project=request.caller.project)
        return Response(body=content, content_type=_BYTES)

    def list(self, request: Request) -> Response:
        """``GET /v1/files``."""
        query = parse_query(request.query, api.FileListQuery)
        if query.purpose not in (None, *PURPOSES):
            return json_response(api.ListPage[api.FileObject](data=[]))
        found = self.files.list(project=request.caller.project, after=query.after, limit=query.limit, order=query.order)
        return json_response(views.page([views.file_object(record) for record in found.data], has_more=found.has_more))

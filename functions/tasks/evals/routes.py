"""``/v1/evals``: requests in, use cases, OpenAI's objects out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, Route, json_response
from common.edge.validation import parse, parse_query
from common.schemas import evals as api
from functions.tasks import views
from functions.tasks.evals.versions import create_eval, update_eval

if TYPE_CHECKING:
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from functions.tasks.control.deletion import Deletion
    from functions.tasks.once import Once
    from functions.tasks.runs.provenance import Installation


@dataclass(frozen=True, slots=True)
class EvalRoutes:
    """Evals of the caller's project."""

    evals: EvalStore
    installation: Installation
    deletion: Deletion
    once: Once

    def routes(self) -> list[Route]:
        """Every route of this resource."""
        one, page = "/v1/evals/{eval_id}", api.ListPage[api.EvalObject]
        return [
            Route(
                "POST",
                "/v1/evals",
                self.create,
                "Create an eval",
                api.EvalCreate,
                api.EvalObject,
                errors="openai",
                limited=True,
                status=201,
            ),
            Route("GET", "/v1/evals", self.list, "List evals", answer=page, query=api.EvalListQuery, errors="openai"),
            Route("GET", one, self.get, "Get an eval", answer=api.EvalObject, errors="openai"),
            Route("POST", one, self.update, "Update an eval", api.EvalUpdate, api.EvalObject, errors="openai"),
            Route("DELETE", one, self.delete, "Delete an eval and its runs", answer=api.EvalDeleted, errors="openai"),
        ]

    def create(self, request: Request) -> Response:
        """``POST /v1/evals``."""
        project = request.caller.project

        def make(identity: Identity | None) -> api.EvalObject:
            body = parse(request.body, api.EvalCreate)
            version = create_eval(body, self.evals, project=project, installation=self.installation, identity=identity)
            return views.eval_object(version)

        def find(identity: Identity) -> api.EvalObject:
            return views.eval_object(self.evals.get(identity.id("eval"), project=project))

        return self.once(request, make=make, find=find)

    def get(self, request: Request) -> Response:
        """``GET /v1/evals/{eval_id}``."""
        return json_response(views.eval_object(self.evals.get(request.params["eval_id"], project=request.caller.project)))

    def update(self, request: Request) -> Response:
        """``POST /v1/evals/{eval_id}``."""
        body = parse(request.body, api.EvalUpdate)
        version = update_eval(request.params["eval_id"], body, self.evals, project=request.caller.project)
        return json_response(views.eval_object(version))

    def delete(self, request: Request) -> Response:
        """``DELETE /v1/evals/{eval_id}``."""
        eval_id = request.params["eval_id"]
        self.deletion.eval(eval_id, project=request.caller.project)
        return json_response(api.EvalDeleted(eval_id=eval_id))

    def list(self, request: Request) -> Response:
        """``GET /v1/evals``."""
        query = parse_query(request.query, api.EvalListQuery)
        found = self.evals.list(
            project=request.caller.project,
            after=query.after,
            limit=query.limit,
            order=query.order,
            order_by=query.order_by,
        )
        return json_response(views.page([views.eval_object(version) for version in found.data], has_more=found.has_more))

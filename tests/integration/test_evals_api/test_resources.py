"""Evals and files through the official ``openai`` package, unmodified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import EvalCreateResponse, EvalListResponse, EvalRetrieveResponse, EvalUpdateResponse
from openapi_spec_validator import validate

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}, "a": {"type": "string"}}, "required": ["a"]}
CONFIG = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
EQUAL = {
    "type": "string_check",
    "name": "equal",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "operation": "eq",
}
JUDGE = {
    "type": "score_model",
    "name": "good",
    "model": "lab:j",
    "range": [0, 10],
    "input": [{"role": "user", "content": "{{item.q}}"}],
}


def create(client: OpenAI, **changes: Any) -> Any:
    return client.evals.create(**{"name": "e", "data_source_config": CONFIG, "testing_criteria": [EQUAL], **changes})


def valid(answer: Any, kind: type[Any]) -> Any:
    """The package parses leniently; here its own types must hold strictly."""
    kind.model_validate(json.loads(answer.to_json()))
    return answer


def test_an_eval_through_its_life(world: World) -> None:
    """Create, retrieve, update, list and delete give what the package's types promise."""
    evals = world.client.evals
    made = valid(create(world.client, name="first", metadata={"team": "x"}), EvalCreateResponse)
    assert (made.object, made.name, made.metadata) == ("eval", "first", {"team": "x"})
    assert made.data_source_config.schema_["properties"]["item"] == SCHEMA
    assert made.data_source_config.schema_["required"] == ["item", "sample"]
    assert valid(evals.retrieve(made.id), EvalRetrieveResponse).to_dict() == made.to_dict()
    updated = valid(evals.update(made.id, name="second"), EvalUpdateResponse)
    assert (updated.name, updated.metadata, updated.knudge["version"]) == ("second", {"team": "x"}, 2)
    assert evals.update(made.id, metadata=None).metadata == {}
    (listed,) = evals.list().data
    assert valid(listed, EvalListResponse).name == "second"
    deleted = evals.delete(made.id)
    assert (deleted.deleted, deleted.eval_id, deleted.object) == (True, made.id, "eval.deleted")
    with pytest.raises(openai.NotFoundError) as caught:
        evals.retrieve(made.id)
    assert caught.value.code == "not_found"


def test_pass_marks_are_filled_in(world: World) -> None:
    """A pass mark that was left out is stated in the answer."""
    criteria = create(world.client, testing_criteria=[JUDGE, EQUAL]).testing_criteria
    assert criteria[0].pass_threshold == 5.0
    assert criteria[0].range == [0, 10]


def test_lists_page_by_themselves(world: World) -> None:
    """The package's auto-paging sees every eval once, in either order, by creation and by update, even while deleting."""
    ids = [create(world.client, name=f"e{number}").id for number in range(7)]
    evals = world.client.evals
    assert [e.id for e in evals.list(limit=3)] == ids
    assert [e.id for e in evals.list(limit=3, order="desc")] == ids[::-1]
    evals.update(ids[2], name="late")
    assert [e.id for e in evals.list(limit=2, order_by="updated_at", order="desc")][:3] == [ids[2], ids[6], ids[5]]
    page = evals.list(limit=3)
    assert (page.has_more, page.first_id, page.last_id) == (True, ids[0], ids[2])
    for found in evals.list(limit=2):
        evals.delete(found.id)
    assert list(evals.list()) == []


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"data_source_config": {"type": "logs"}}, "data_source_config.type", "custom"),
        ({"data_source_config": {"type": "stored_completions"}}, "data_source_config.type", "custom"),
        (
            {"data_source_config": {"type": "custom", "item_schema": {"type": "objekt"}}},
            "data_source_config.item_schema.type",
            "objekt",
        ),
        ({"data_source_config": {"type": "custom", "item_schema": {"$ref": "http://127.0.0.1:1/s"}}}, None, "other documents"),
        ({"testing_criteria": []}, "testing_criteria", "at least 1"),
        ({"testing_criteria": [EQUAL, EQUAL]}, "testing_criteria[1].name", "has this name too"),
        ({"testing_criteria": [{**EQUAL, "reference": "{{item.b}}"}]}, "testing_criteria[0].reference", "item.b"),
        ({"testing_criteria": [{"type": "python", "name": "p", "source": "x"}]}, "testing_criteria[0].type", "python"),
        ({"testing_criteria": [{**EQUAL, "operation": "is"}]}, "testing_criteria[0].operation", "eq"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k", "512"),
        (
            {"testing_criteria": [{**JUDGE, "model": "lap:judge-1"}]},
            "testing_criteria[0].model",
            "known: anthropic, gemini, lab, openai",
        ),
        (
            {
                "testing_criteria": [
                    EQUAL,
                    {"type": "panel", "name": "p", "graders": [JUDGE, {**JUDGE, "name": "b", "model": "lap:b"}]},
                ]
            },
            "testing_criteria[1].graders[1].model",
            "provider 'lap' is not configured",
        ),
        ({"extra_body": {"colour": "red"}}, "colour", "not a known field"),
    ],
)
def test_what_is_wrong_with_an_eval_is_said(world: World, changes: dict[str, Any], param: str | None, message: str) -> None:
    """A wrong request is a BadRequestError that names the field and what was expected, and nothing is kept."""
    with pytest.raises(openai.BadRequestError) as caught:
        create(world.client, **changes)
    assert message in caught.value.message
    assert caught.value.type == "invalid_request_error"
    if param is not None:
        assert caught.value.param == param
    assert world.client.evals.list().data == []


@pytest.mark.parametrize("model", ["lab:new", "gpt-4o-mini", "ft:gpt-4o:acme::1", "judge", "gemini:gemini-3", "openai:x:y"])
def test_a_judge_that_somebody_may_have_is_taken(world: World, model: str) -> None:
    """Configured providers, aliases, bare names, which are OpenAI's, and vendors whose key only `evaluate` may have."""
    assert create(world.client, testing_criteria=[{**JUDGE, "model": model}]).testing_criteria[0].model == model


def test_keys_are_checked_and_projects_kept_apart(world: World) -> None:
    """Without a right key nothing opens; with another project's key, evals and files are not there."""
    for key in ("kn-wrong", "sk-other"):
        with pytest.raises(openai.AuthenticationError):
            OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0).evals.list()
    stranger = world.new_client("blue")
    eval_id = create(world.client).id
    file_id = world.client.files.create(file=b'{"item":{"a":"x"}}', purpose="evals").id
    assert stranger.evals.list().data == []
    assert stranger.files.list().data == []
    for look in (
        lambda: stranger.evals.retrieve(eval_id),
        lambda: stranger.evals.delete(eval_id),
        lambda: stranger.evals.update(eval_id, name="mine"),
        lambda: stranger.evals.runs.list(eval_id),
        lambda: stranger.files.retrieve(file_id),
        lambda: stranger.files.delete(file_id),
        lambda: stranger.files.content(file_id),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    theirs = create(stranger).id
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}
    with pytest.raises(openai.BadRequestError, match="no such file"):
        stranger.evals.runs.create(theirs, data_source=source)


def test_wrong_cursors_and_queries_are_refused(world: World) -> None:
    """A cursor that is none, a limit out of range and an unknown parameter are BadRequestErrors that name it."""
    for query, param in (({"after": "x"}, "after"), ({"limit": 0}, "limit"), ({"extra_query": {"colour": "red"}}, "colour")):
        with pytest.raises(openai.BadRequestError) as caught:
            world.client.evals.list(**query)
        assert caught.value.param == param


async def test_the_async_client_works_too(world: World) -> None:
    """The package's async client pages through the same lists."""
    ids = [create(world.client).id for _ in range(3)]
    async with AsyncOpenAI(base_url=world.client.base_url, api_key=world.client.api_key, max_retries=0) as client:
        assert [e.id async for e in client.evals.list(limit=2)] == ids


def test_a_file_through_its_life(world: World) -> None:
    """Upload, retrieve, list, content and delete; the content comes back byte for byte."""
    files, content = world.client.files, b'{"item":{"a":"1"}}\r\n\r\n{"item":{"a":"2"}}'
    made = files.create(file=("rows.jsonl", content), purpose="evals")
    assert (made.object, made.bytes, made.filename, made.purpose, made.status) == (
        "file",
        len(content),
        "rows.jsonl",
        "evals",
        "processed",
    )
    assert files.retrieve(made.id).to_dict() == made.to_dict()
    assert files.content(made.id).content == content
    other = files.create(file=("more.jsonl", content), purpose="evals")
    assert [file.id for file in files.list(limit=1)] == [other.id, made.id]
    assert [file.id for file in files.list(order="asc", purpose="evals")] == [made.id, other.id]
    assert files.list(purpose="batch").data == []
    assert files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        files.content(made.id)


def test_what_is_wrong_with_a_file_is_said(world: World) -> None:
    """A broken line is named by its number, another purpose is refused, too many bytes are a 413, and nothing is kept."""
    files = world.client.files
    with pytest.raises(openai.BadRequestError, match="line 3: not JSON"):
        files.create(file=b'{"item":{}}\n\n{"item"', purpose="evals")
    with pytest.raises(openai.BadRequestError, match="only 'evals'"):
        files.create(file=b"{}", purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="do not expire"):
        files.create(file=b"{}", purpose="evals", expires_after={"anchor": "created_at", "seconds": 3600})
    with pytest.raises(openai.APIStatusError) as caught:
        files.create(file=b'{"item":{}}\n' * 40_000, purpose="evals")
    assert caught.value.status_code == 413
    assert files.list().data == []
    assert not [key for key in world.store.keys("*") if key.startswith(b"kn:ds")]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"x", 415),
        ("multipart/form-data; boundary=b", b"no form at all", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nevals\r\n--b--\r\n',
            400,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}\r\n--b--\r\n',
            400,
        ),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}', 400),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="c"\r\n\r\nred\r\n--b--\r\n', 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nred\r\n--b--\r\n", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X" * 300_000, 400),
    ],
)
def test_broken_uploads_are_refused(world: World, content_type: str, body: bytes, status: int) -> None:
    """Whatever is wrong with the form itself gets a 4xx in OpenAI's shape, and nothing is kept."""
    headers = {"authorization": f"Bearer {world.client.api_key}", "content-type": content_type}
    answer = httpx.post(f"{world.url}/v1/files", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert world.client.files.list().data == []


def test_the_description_is_valid_openapi(world: World) -> None:
    """The function describes every route it serves, in valid OpenAPI."""
    document = httpx.get(f"{world.url}/openapi.json").json()
    validate(document)
    assert {"/v1/evals", "/v1/files", "/v1/evals/{eval_id}/runs/{run_id}/output_items", "/dead-letters"} <= set(
        document["paths"]
    )

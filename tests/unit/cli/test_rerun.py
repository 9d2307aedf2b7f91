"""`knudge rerun` against a server on loopback, and `knudge project` against a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cli.main import outcome
from common.settings import Settings
from common.store.apikeys import ApiKeyStore
from common.store.connect import sync_client
from tests.unit.cli.loopback import Answer, Asked, Loopback

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = {"manifest_version": 1, "run": {"run_id": "run_1"}}
DIFFERENT = [
    {"what": "prices_as_of", "then": "2026-01-01", "now": "2026-11-21"},
    {"what": "build", "then": None, "now": "a\x1b[31m"},
]


def _server(loopback: Loopback, differences: Any) -> list[str]:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/manifests/run_1":
            return Answer(MANIFEST)
        if (asked.method, asked.path) == ("POST", "/reruns"):
            return Answer({"run": {"id": "run_2"}, "differences": differences}, status=201)
        return Answer({"error": {"message": "no such run"}}, status=404)

    loopback.answer = answer
    return ["--base-url", loopback.url]


@pytest.mark.parametrize("as_file", [True, False])
def test_a_run_is_started_from_a_file_or_an_id(
    loopback: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, as_file: bool
) -> None:
    """The manifest goes to the server as it is; the new run's id is all that stdout has, differences are on stderr."""
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(MANIFEST))
    given = str(path) if as_file else "run_1"
    assert outcome(["rerun", given, "--name", "again", *_server(loopback, DIFFERENT)]) == 0
    (asked,) = loopback.asked_for("POST", "/reruns")
    assert asked.json == {"manifest": MANIFEST, "name": "again"}
    told = capsys.readouterr()
    assert told.out == "run_2\n"
    assert "prices_as_of: 2026-01-01 -> 2026-11-21" in told.err
    assert "\x1b" not in told.err


def test_what_cannot_be_rerun_is_said(loopback: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is not there, a file that is no manifest of this version, and a manifest without provenance are told apart."""
    options = _server(loopback, None)
    assert outcome(["rerun", "run_9", *options]) == 2
    path = tmp_path / "manifest.json"
    for content in ("[]", "{", '{"manifest_version": 2}'):
        path.write_text(content)
        assert outcome(["rerun", str(path), *options]) == 2
    assert not loopback.asked_for("POST", "/reruns")
    capsys.readouterr()
    assert outcome(["rerun", "run_1", "--json", *options]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["run"]["id"] == "run_2"
    assert "does not tell what its installation was like" in told.err


def test_a_file_that_is_not_there_is_no_run(loopback: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path is named as such, and the server is not asked for it."""
    assert outcome(["rerun", "old/manifest.json", *_server(loopback, None)]) == 2
    assert "old/manifest.json: neither a file nor the id of a run" in capsys.readouterr().err
    assert not loopback.asked


def test_a_project_is_deleted_by_name(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is gone at the first call, and the second one says that there is no such project."""
    monkeypatch.setenv("KNUDGE_REDIS_URL", redis_url)
    client = sync_client(Settings(redis_url=redis_url))
    ApiKeyStore(client).create("k", project="old")
    assert outcome(["project", "delete", "old", "--yes"]) == 0
    assert ApiKeyStore(client).list() == []
    client.close()
    assert outcome(["project", "delete", "old", "--yes"]) == 2
    assert "no such project: old" in capsys.readouterr().err

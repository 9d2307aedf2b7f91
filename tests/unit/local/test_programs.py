from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import InvalidInput
from common.settings import FUNCTIONS, Settings
from local.manifests import read_wiring
from local.programs import Options, Program, plan
from local.scale import parse_scale, ports

OPTIONS = Options(Path("/data/gateway.json"), Path("/homes"), "sync", "lose=0.1")


def planned(env: dict[str, str]) -> dict[str, Program]:
    return {program.name: program for program in plan(Settings.from_env(env), read_wiring(), OPTIONS)}


def test_everything_runs_on_its_port() -> None:
    """The contract's ports hold, and KNUDGE_PORT_BASE moves them together."""
    names = ("broker", "evaluate", "aggregate", "health", "tasks", "completions", "simulator")
    assert [planned({})[name].port for name in names] == list(range(8080, 8087))
    moved = planned({"KNUDGE_PORT_BASE": "9000"})
    assert [moved[name].port for name in names] == list(range(9000, 9007))
    assert moved["tasks"].env["KNUDGE_REDIS_URL"] == "redis://127.0.0.1:9009/0"
    assert moved["tasks"].env["KNUDGE_BROKER_URL"] == "http://127.0.0.1:9000"


def test_the_store_comes_first_unless_there_is_one() -> None:
    """The embedded Valkey is started before what needs it, and not at all where KNUDGE_REDIS_URL is set."""
    assert next(iter(planned({}))) == "redis"
    elsewhere = planned({"KNUDGE_REDIS_URL": "redis://elsewhere/1"})
    assert "redis" not in elsewhere
    assert elsewhere["tasks"].env["KNUDGE_REDIS_URL"] == "redis://elsewhere/1"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_run_as_the_manifests_say(name: str) -> None:
    """Each function has the environment of its Service, settings of the base included, on loopback."""
    env = planned({})[name].env
    assert env["FUNCTION_TARGET"] == name
    assert Path(env["FUNCTION_SOURCE"]).parts[-3:] == ("functions", name, "main.py")
    assert env["KNUDGE_LEASE_S"] == read_wiring().settings["KNUDGE_LEASE_S"]
    assert (env["HOST"], env["KNUDGE_AUTH"], env["KNUDGE_CONFIG"]) == ("127.0.0.1", "off", "/data/gateway.json")
    assert env["HOME"] == f"/homes/{name}"
    if "THREADS" in read_wiring().functions[name].env:
        assert env["THREADS"] == read_wiring().functions[name].env["THREADS"]


def test_the_users_settings_win() -> None:
    """A KNUDGE variable of the shell overrides the manifests' value; variables of one server are not handed to all."""
    env = planned({"KNUDGE_LEASE_S": "7", "KNUDGE_AUTH": "on", "THREADS": "1", "K_SINK": "http://x", "PORT": "1"})["tasks"].env
    assert (env["KNUDGE_LEASE_S"], env["KNUDGE_AUTH"]) == ("7", "on")
    assert env["THREADS"] == read_wiring().functions["tasks"].env["THREADS"]
    assert "K_SINK" not in env
    assert env["PORT"] == "8084"


def test_the_broker_gets_its_mode() -> None:
    """Mode and faults reach the broker's command line."""
    argv = " ".join(planned({})["broker"].argv)
    assert "--mode sync --faults lose=0.1" in argv


def test_functions_can_have_several_processes() -> None:
    """Each further process has a name, a port and a home of its own, and the broker is told how many there are."""
    options = replace(OPTIONS, scale={"evaluate": 3, "aggregate": 2})
    programs = {program.name: program for program in plan(Settings.from_env({}), read_wiring(), options)}
    assert [programs[name].port for name in ("evaluate", "evaluate-2", "evaluate-3", "aggregate-2")] == [8081, 8091, 8101, 8092]
    assert programs["evaluate-3"].env["HOME"] == "/homes/evaluate-3"
    assert programs["evaluate-3"].env["PORT"] == "8101"
    assert programs["evaluate-3"].env["KNUDGE_FUNCTION"] == "evaluate"
    assert "--scale evaluate=3,aggregate=2" in " ".join(programs["broker"].argv)


@pytest.mark.parametrize("text", ["judge=2", "evaluate=0", "evaluate=10", "evaluate=x", "evaluate"])
def test_a_scale_that_is_none(text: str) -> None:
    """Unknown functions and numbers beyond 1 to 9 are refused, each by name."""
    with pytest.raises(InvalidInput, match=text.partition("=")[0]):
        parse_scale(text, FUNCTIONS)


def test_ports_end() -> None:
    """A process whose port would be beyond the last one is refused before anything starts."""
    with pytest.raises(InvalidInput, match="65536"):
        ports(Settings(port_base=65525), "evaluate", {"evaluate": 2})


def test_keys_are_not_in_the_repr() -> None:
    """A program can be printed without showing the providers' keys it passes on."""
    assert "sk-secret" not in repr(planned({"OPENAI_API_KEY": "sk-secret"}))

"""The pages are up to date with the code, and their examples are what they say they are."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml
from click.testing import CliRunner

import common.schemas.evals
from cli.main import knudge
from common.edge.validation import parse, validate
from common.events.codec import STRUCTURED, decode
from common.graders.context import GradeContext
from common.graders.registry import grade
from common.providers.account import Account
from common.providers.http import Http
from common.providers.registry import make_provider
from common.schemas import events
from common.schemas.config import GatewayConfig, ProviderConfig
from common.schemas.evaluation import EvaluationRequest
from common.schemas.graders import Grader
from common.settings import Settings
from docs.examples import FOLDER, PAGES, Example, documents, examples
from docs.settings import SETTINGS
from local.manifests import read_wiring
from tests.support.providers import simulating

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from common.schemas.completion import Completion, CompletionRequest

ROOT = FOLDER.parent
EXAMPLES = [example for page in PAGES for example in examples(page)]
CHECKED_HERE = {"evaluation", "verdicts", "event", "gateway", "manifest", "keys", "log", "providers", "shown"}
CHECKED_BY_RUNNING = {"run", "answer"}
UNCHECKED_LANGUAGES = {"text", "mermaid"}


def of(kind: str) -> pytest.MarkDecorator:
    """Parametrizes a test over the examples of a kind."""
    found = [example for example in EXAMPLES if example.kind == kind]
    assert found, kind
    return pytest.mark.parametrize("example", found, ids=str)


def test_generated_parts_are_up_to_date() -> None:
    """Tables made from the code say what the code says now; where they do not, the message has the command that renews them."""
    command = [sys.executable, "-m", "docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.language not in UNCHECKED_LANGUAGES], ids=str)
def test_every_example_says_how_it_is_checked(example: Example) -> None:
    """No code stands on a page without a kind that a test knows."""
    models = {name for name, value in vars(common.schemas.evals).items() if isinstance(value, type)}
    assert example.kind in CHECKED_HERE | CHECKED_BY_RUNNING | models, str(example)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.language in {"json", "yaml"}], ids=str)
def test_every_example_is_well_formed(example: Example) -> None:
    """JSON is JSON, as one document or a line each, and YAML is YAML."""
    assert documents(example.text) if example.language == "json" else yaml.safe_load(example.text)


@of("RunCreate")
def test_examples_of_the_api_are_valid(example: Example) -> None:
    """A request shown without being sent is one that the API takes."""
    parse(example.text.encode(), getattr(common.schemas.evals, example.kind))


@of("gateway")
def test_the_configuration_example_is_whole_and_valid(example: Example) -> None:
    """It loads as the file behind KNUDGE_CONFIG does, and has every part that there is."""
    raw = yaml.safe_load(example.text)
    config = GatewayConfig.model_validate(raw)
    assert set(raw) == set(GatewayConfig.model_fields)
    assert {provider.kind for provider in config.providers.values()} >= {"openai", "anthropic"}
    used = {field for model in raw["models"].values() for field in model}
    assert used == set(type(config.models["lab:judge-1"]).model_fields)


@of("manifest")
def test_triggers_listen_to_events_that_there_are(example: Example) -> None:
    """A Trigger on a page filters for one of our types at our Broker."""
    trigger = yaml.safe_load(example.text)
    wiring = read_wiring()
    assert (trigger["apiVersion"], trigger["kind"]) == ("eventing.knative.dev/v1", "Trigger")
    assert trigger["spec"]["broker"] == wiring.broker
    assert trigger["spec"]["filter"]["attributes"]["type"] == events.RUN_COMPLETED
    assert trigger["spec"]["subscriber"]["ref"]["kind"] == "Service"


@of("event")
def test_events_can_be_taken_in(example: Example) -> None:
    """Events on a page decode in their mode, and their data is what their type promises."""
    event = decode(*_message(example))
    model = {events.EVALUATION_REQUESTED: events.RunItems, events.RUN_COMPLETED: events.RunCompleted}[event.type]
    validate(event.data, model)
    assert event.source.startswith("/knudge/")
    assert event.subject
    assert event.dataschema == f"urn:knudge:schema:{event.type}"


def _message(example: Example) -> tuple[dict[str, str], bytes]:
    """Lower-case headers and body of an event's HTTP message."""
    if example.language == "json":
        return {"content-type": STRUCTURED}, example.text.encode()
    head, _, body = example.text.partition("\n\n")
    lines = (line.partition(": ") for line in head.splitlines()[1:])
    return {name: value for name, _, value in lines}, body.encode()


@of("log")
def test_log_lines_have_the_fields_that_are_explained(example: Example) -> None:
    """The line on the page is one, and the table under it explains every field but those that explain themselves."""
    line = json.loads(example.text)
    page = (FOLDER / f"{example.page}.md").read_text(encoding="utf-8")
    assert line["event"] == "request"
    assert [name for name in line if f"`{name}`" not in page] == ["time", "level"]


@of("keys")
def test_documented_key_commands_exist(example: Example) -> None:
    """Each `knudge keys` command on the page is one, with options that it has."""
    for command in example.text.splitlines():
        words = [word for word in command.split() if not word.startswith('"')]
        options = [word for word in words if word.startswith("--")]
        shown = CliRunner().invoke(knudge, [*words[1:3], "--help"])
        assert shown.exit_code == 0, command
        assert [option for option in options if option not in shown.output] == []


EVALUATIONS = [
    (example, answer) for example, answer in pairwise(EXAMPLES) if (example.kind, answer.kind) == ("evaluation", "verdicts")
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with simulating() as (url, _):
        yield url


@pytest.mark.parametrize(("example", "answer"), EVALUATIONS, ids=[str(example) for example, _ in EVALUATIONS])
def test_documented_evaluations_come_out_as_documented(example: Example, answer: Example, simulator: str) -> None:
    """Every grader on the page, given the item and sample beside it, says what the page says it does."""
    verdicts = asyncio.run(_judged(parse(example.text.encode(), EvaluationRequest), simulator))
    told = json.loads(answer.text)
    assert len(told) == len(verdicts)
    assert [_part(real, of=said) for said, real in zip(told, verdicts, strict=True)] == told


async def _judged(request: EvaluationRequest, url: str) -> list[dict[str, Any]]:
    http = Http()
    provider = make_provider(Account("simulator", ProviderConfig(kind="simulator", base_url=url)), http)

    async def complete(asked: CompletionRequest, /) -> Completion:
        return await provider.complete(asked, timeout_s=10)

    context = GradeContext(item=request.item, sample=request.sample, complete=complete, marker=lambda: "5eed")
    verdicts = [await grade(grader, context) for grader in request.graders]
    await http.aclose()
    return [verdict.model_dump(mode="json") for verdict in verdicts]


def _part(real: Any, *, of: Any) -> Any:
    """As much of `real` as `of` speaks about; scores to six digits."""
    if isinstance(of, dict) and isinstance(real, dict):
        return {name: _part(real.get(name), of=value) for name, value in of.items()}
    if isinstance(of, list) and isinstance(real, list):
        return [_part(each, of=value) for each, value in zip(real, of, strict=False)]
    return round(real, 6) if isinstance(real, float) else real


def test_every_type_of_grader_has_a_running_example() -> None:
    """No grader that runs here is without one on a page."""
    shown = {grader.type for example, _ in EVALUATIONS for grader in parse(example.text.encode(), EvaluationRequest).graders}
    known = {get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(Grader)[0])}
    assert shown == known - {"python"}


def test_every_unscored_code_is_explained() -> None:
    """Codes that graders, runs and imports give to verdicts without a score stand in the table."""
    page = (FOLDER / "graders.md").read_text(encoding="utf-8")
    sources = [*ROOT.glob("common/graders/**/*.py"), *ROOT.glob("functions/*/*.py")]
    codes = {code for path in sources for code in _codes(path)}
    assert codes
    assert {code for code in codes if f"`{code}`" not in page} == set()


def _codes(path: Path) -> Iterator[str]:
    """Literal codes of `Unscored`, `UnscoredError` and `ReplyError` in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"Unscored", "UnscoredError", "ReplyError"}:
            values = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            yield from (value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str))


def test_log_events_and_metrics_on_the_page_exist() -> None:
    """Operators who search for a name from the page find what the code writes."""
    page = (FOLDER / "operations.md").read_text(encoding="utf-8")
    source = "".join(
        path.read_text(encoding="utf-8") for folder in ("common", "functions") for path in ROOT.glob(f"{folder}/**/*.py")
    )
    names = set(re.findall(r"`((?:edge|gateway|events|aggregate|tasks)\.[a-z_.]+)`", page))
    metrics = {name.removesuffix("_total") for name in re.findall(r"\bknudge_[a-z_]+", page)}
    assert len(names) > 5
    assert {name for name in names if f'"{name}"' not in source} == set()
    assert {name for name in metrics if f'"{name}"' not in source} == set()


@pytest.mark.parametrize("variable", sorted(SETTINGS))
def test_settings_reach_the_field_they_are_said_to(variable: str) -> None:
    """Setting the variable changes that field of the settings and no other, but for ports and URLs that follow from it."""
    field, _ = SETTINGS[variable]
    name = variable.replace("<NAME>", "TASKS")
    before = Settings.from_env({})
    value = {"auth": "off", "log_level": "DEBUG", "limits_on_store_failure": "open"}.get(field, "12345")
    after = Settings.from_env({name: value})
    changed = {each for each in Settings.__slots__ if getattr(before, each) != getattr(after, each)} - {"environ"}
    follows = {"redis_url", "broker_url", "public_urls"} if field == "port_base" else set()
    assert changed == {field} | follows


def test_every_setting_is_described() -> None:
    """Variables that the settings read are in the table."""
    source = (ROOT / "common" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r"\"(KNUDGE_[A-Z_]+)\"", source)) | {"KNUDGE_<NAME>_URL"}
    assert read == set(SETTINGS)


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    """Links to files of the repository, and to headings within pages, are not broken."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = FOLDER / name if name else FOLDER / page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


def _anchors(path: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

"""The commands and programs of the documentation, run in order against the whole system as ``bin/serve`` starts it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from docs.examples import documents, examples, misfits
from tests.support.system import ROOT, whole_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = re.compile(r"127\.0\.0\.1:808([0-9])")


@pytest.fixture(scope="module")
def port_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The whole system, judged by the simulator."""
    if missing := [tool for tool in ("bash", "curl", "jq") if shutil.which(tool) is None]:
        pytest.skip(f"the documentation's commands need {', '.join(missing)}")
    with whole_system(tmp_path_factory.mktemp("knudge"), "--judge", "simulator:judge") as base:
        yield base


def script(page: str, folder: Path, *, port_base: int) -> str:
    """All of a page's commands as one, so that a variable set in one block is there in the next; each with its own output."""
    lines = ["set -euo pipefail"]
    for number, example in enumerate(examples(page)):
        if example.kind != "run":
            continue
        text = LOCAL.sub(lambda found: f"127.0.0.1:{port_base + int(found[1])}", example.text)
        if example.language == "python":
            program = folder / f"{number}.py"
            program.write_text(text, encoding="utf-8")
            text = f"{sys.executable} {program}\n"
        lines.append(f"{{\n{text}}} > {folder / str(number)}.out")
    return "\n".join(lines)


@pytest.mark.parametrize("page", ["api", "compare", "events", "operations"])
def test_documented_commands_do_what_the_page_says(page: str, port_base: int, tmp_path: Path) -> None:
    """Every command and program of the page succeeds, and each answer shown after one has the fields and types of the real."""
    command = ["bash", "-c", script(page, tmp_path, port_base=port_base)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    shown = examples(page)
    for number, (example, answer) in enumerate(pairwise(shown)):
        if example.kind == "run" and answer.kind == "answer":
            real = documents((tmp_path / f"{number}.out").read_text(encoding="utf-8"))
            assert misfits(documents(answer.text), real) == [], str(answer)


def test_the_first_program_people_see_runs(port_base: int) -> None:
    """The README's Python example runs as it stands, with nothing but the openai package, and counts one of two as passed."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    here = LOCAL.sub(lambda port: f"127.0.0.1:{port_base + int(port[1])}", program)
    done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "errored=0, failed=1, passed=1, total=2" in done.stdout

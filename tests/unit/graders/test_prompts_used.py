"""Which prompts a grader uses, as a run's manifest says."""

from __future__ import annotations

import re
from importlib.resources import files

from common.graders.prompts_used import prompts_used
from common.schemas.graders import MultiGrader, StringCheckGrader
from common.schemas.graders.base import GraderModel

_MODULES = files("common.graders")
_VERSION = re.compile(r'"([a-z_]+\.v\d+)"')


def _named_in(folder: str) -> set[str]:
    texts = [file.read_text() for file in (_MODULES / folder).iterdir() if file.name.endswith(".py")]
    return {version for text in texts for version in _VERSION.findall(text)}


def test_every_prompt_that_is_asked_with_is_told() -> None:
    """Each prompt that a judge's module names, and the one for repairs, is among those of some type of grader."""
    types = [file.name.removesuffix(".py") for file in (_MODULES / "judges").iterdir()]
    told = set().union(*(prompts_used(GraderModel(type=name, name="x")) for name in types))
    assert _named_in("judges") | {"repair.v1"} <= told


def test_prompts_of_parts_are_told() -> None:
    """A grader over others uses what they use, and one without a judge uses none."""
    check = StringCheckGrader(type="string_check", name="c", input="", reference="", operation="eq")
    assert prompts_used(check) == set()
    judge = {"type": "score_model", "name": "j", "model": "m", "input": [{"role": "user", "content": "x"}]}
    multi = MultiGrader.model_validate(
        {"type": "multi", "name": "m", "graders": {"a": check.model_dump(), "b": judge}, "calculate_output": "a + b"}
    )
    assert prompts_used(multi) == {"score.v1", "repair.v1"}

"""The prompts Knudge itself adds to a judge's. They are files with a version in their names; a change makes a new file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text with ``$placeholders``; ``version`` (``score.v1``) goes into every verdict it led to."""

    version: str
    text: str

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, **values: str) -> str:
        """The text with every placeholder filled. Values are put in as they are. Raises `KeyError` if one is missing."""
        return Template(self.text).substitute(values)


@cache
def prompt(version: str) -> Prompt:
    """The file ``prompts/<version>.md``."""
    return Prompt(version, (files("common.graders") / "prompts" / f"{version}.md").read_text(encoding="utf-8").strip())

"""Programs that judge, each run by a driver of ours in an environment of its own: how to set one up, and how to start it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rig.homes import Home, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

_DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True, slots=True)
class JudgePeer:
    """One of them, known by its home's name; ``reply`` names what the stand-in answers. Without a home it runs in ours."""

    name: str
    reply: str
    home: Home | None = None
    switches: Mapping[str, str] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """How its driver is started. Raises `Missing`."""
        if self.home is None:
            return [sys.executable, str(_DRIVERS / f"by_{self.name}.py")]
        folder = self.home.made()
        if self.home.is_node:
            return ["node", str(_DRIVERS / f"by_{self.name}.mjs"), str(folder / "node_modules" / self.name)]
        return [str(folder / "bin" / "python"), str(_DRIVERS / f"by_{self.name}.py")]

    def environment(self, scratch: Path) -> dict[str, str]:
        """What its driver may know. Nothing is reported to anybody."""
        return environment(HOME=str(scratch), **self.switches)


def _peer(name: str, *requirements: str, is_node: bool = False, **switches: str) -> JudgePeer:
    return JudgePeer(name, name, Home(name, requirements, is_node=is_node), switches)


LIMITS = (JudgePeer("aiohttp", "knudge"), JudgePeer("httpx", "knudge"))
JUDGES = (
    _peer("autoevals", "autoevals==0.4.1", "openai==3.54.0"),
    _peer(
        "promptfoo",
        "promptfoo@0.121.20",  # the last that takes Node 20
        is_node=True,
        PROMPTFOO_DISABLE_TELEMETRY="1",
        PROMPTFOO_DISABLE_UPDATE="1",
        PROMPTFOO_DISABLE_REMOTE_GENERATION="1",
        PROMPTFOO_CACHE_ENABLED="false",
    ),
    _peer("pydantic_evals", "pydantic-evals==2.62.0", "pydantic-ai-slim[openai]==2.62.0", "openai==3.54.0"),
    # ragas imports what later versions of langchain-community lack.
    _peer("ragas", "ragas==0.4.3", "langchain-community==0.3.31", RAGAS_DO_NOT_TRACK="true"),
    _peer("inspect", "inspect-ai==0.3.285", "openai==3.54.0"),
    _peer("deepeval", "deepeval==4.3.1", "openai==3.54.0", DEEPEVAL_TELEMETRY_OPT_OUT="YES"),
)

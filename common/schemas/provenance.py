"""What an installation was like when it started a run: everything beside the run's own plan that could change its results."""

from __future__ import annotations

from common.schemas.base import Model


class PromptFile(Model):
    """A prompt of ours: its version, as verdicts name it, and the SHA-256 of its text."""

    version: str
    sha256: str


class Provenance(Model):
    """``version`` is the package's, ``build`` what the build called itself (a commit), None where it did not.

    ``prompts`` are those that the run's graders ask judges with. ``models`` has, for each name that is asked for, the
    ``provider:model`` that may answer, the first one first; none where nothing answered to it when the run was started.
    ``prices_as_of`` is the day of the price table. ``gateway_sha256`` is over providers, models, routes and aliases of the
    gateway file, without the values of headers and query parameters; None where there was no valid one.
    """

    version: str
    build: str | None = None
    prompts: list[PromptFile] = []
    prices_as_of: str
    gateway_sha256: str | None = None
    models: dict[str, list[str]] = {}


class Difference(Model):
    """Something that is not as it was; None: it was, or is, not there."""

    what: str
    then: str | None
    now: str | None


def differences(then: Provenance, now: Provenance) -> list[Difference]:
    """What differs between two, in the order of their fields."""
    pairs = {
        "version": (then.version, now.version),
        "build": (then.build, now.build),
        **_by_name("prompt", *({file.version: file.sha256 for file in each.prompts} for each in (then, now))),
        "prices_as_of": (then.prices_as_of, now.prices_as_of),
        "gateway_sha256": (then.gateway_sha256, now.gateway_sha256),
        **_by_name("model", *({name: ", ".join(found) for name, found in each.models.items()} for each in (then, now))),
    }
    return [Difference(what=what, then=old, now=new) for what, (old, new) in pairs.items() if old != new]


def _by_name(kind: str, then: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {f"{kind} {name}": (then.get(name), now.get(name)) for name in {**then, **now}}

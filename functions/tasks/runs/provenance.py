"""What this installation is like: kept with each run that it starts. And which models it could ask at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.errors import InvalidInput, ModelNotFound
from common.schemas.provenance import PromptFile, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.schemas.config import GatewayConfig
    from common.schemas.graders.base import GraderModel
    from common.schemas.runs import Target
    from common.settings import Settings


@dataclass(frozen=True)
class Installation:
    """Describes itself. What it needs is imported when the first run is started."""

    settings: Settings

    def provenance(self, graders: Sequence[GraderModel], target: Target | None) -> Provenance:
        """Of a run with these graders. Reads the gateway file once, and no network."""
        from importlib.metadata import version

        from common.gateway.prices import price_table

        names = sorted({*(name for grader in graders for name in grader.models.values()), *([target.model] if target else ())})
        return Provenance(
            version=version("knudge"),
            build=self.settings.build or None,
            prompts=_prompts(graders),
            prices_as_of=price_table().as_of,
            gateway_sha256=self._digest,
            models={name: self._resolved(name) for name in names},
        )

    def check_models(self, models: Mapping[str, str], *, pointer: str = "") -> None:
        """See that each of `models`, which are by JSON pointer below `pointer`, leads to a provider that there is.

        Raises:
            InvalidInput: with the field, and the providers that are known. Whether a provider has the model only it can say.
        """
        from common.gateway.names import resolve

        if self._known is None:
            return
        for place, name in models.items():
            try:
                resolve(name, self._known)
            except ModelNotFound as error:
                raise InvalidInput(f"{pointer}{place}: {error.message}", pointer=pointer + place) from None

    @cached_property
    def _known(self) -> GatewayConfig | None:
        """With every provider that another function may have the key of.

        None where the operator's file is wrong: `evaluate` says so, and a run may wait until it is mended.
        """
        try:
            return self.settings.gateway_config(elsewhere=True)
        except InvalidInput:
            return None

    @cached_property
    def _digest(self) -> str | None:
        return None if self._known is None else gateway_sha256(self._known)

    def _resolved(self, name: str) -> list[str]:
        from common.gateway.names import resolve

        if self._known is None:
            return []
        try:
            return list(resolve(name, self._known).models)
        except ModelNotFound:
            return []


def gateway_sha256(config: GatewayConfig) -> str:
    """Digest of what decides which model answers, and how it is asked, without anything that may be secret."""
    import orjson

    parts = config.model_dump(mode="json", include={"providers", "models", "routes", "aliases"})
    for provider in parts["providers"].values():
        provider.update(headers=sorted(provider["headers"]), query=sorted(provider["query"]), base_url=_public(provider))
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _public(provider: dict[str, Any]) -> str:
    """The base URL without a name and password within it."""
    parts = urlsplit(provider["base_url"])
    return str(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def _prompts(graders: Sequence[GraderModel]) -> list[PromptFile]:
    from common.graders.prompt_files import prompt
    from common.graders.prompts_used import prompts_used

    used: set[str] = set().union(*(prompts_used(grader) for grader in graders))
    return [PromptFile(version=version, sha256=prompt(version).sha256) for version in sorted(used)]

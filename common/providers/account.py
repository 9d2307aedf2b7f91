"""A provider as it is configured: where it is, under which key, and what is known of its models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from common.errors import ModelNotFound, ProviderAuthFailed
from common.schemas.config import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.schemas.config import ProviderConfig

_UNCONFIGURED = ModelConfig()


@dataclass(frozen=True, slots=True)
class Account:
    """``models`` is keyed by bare names; ``environ`` is where the key is looked up, by name, at each call.

    ``stepped`` goes before ``models``: what this process learnt of models that refuse a JSON schema as it was sent.
    """

    name: str
    config: ProviderConfig
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    stepped: dict[str, ModelConfig] = field(default_factory=dict, compare=False)

    def url(self, path: str, model: str = "") -> str:
        """``base_url`` with its ``{model}`` filled in, and `path`, joined by one slash; then what ``query`` says.

        Raises:
            ModelNotFound: the name would lead to another path of the server.
        """
        base = self.config.base_url
        if "{model}" in base:
            base = base.replace("{model}", self.segment(model))
        url = f"{base.rstrip('/')}/{path.lstrip('/')}"
        if not self.config.query:
            return url
        return f"{url}{'&' if '?' in path else '?'}{urlencode(self.config.query)}"

    def segment(self, model: str) -> str:
        """A bare model name as one segment of a path. Raises `ModelNotFound` for those that a server takes for a way up."""
        if not model.strip("."):
            raise ModelNotFound(f"provider {self.name!r} has no model {model[:9]!r}", model=self.full_name(model[:9]))
        return quote(model, safe=":")

    def authorization(self, header: str = "authorization", scheme: str = "") -> dict[str, str]:
        """The header that carries the key, none without one: `header`, or the configuration's ``key_header`` with the bare key.

        Raises:
            ProviderAuthFailed: as `key`.
        """
        key = self.key()
        if not key:
            return {}
        return {self.config.key_header: key} if self.config.key_header else {header: f"{scheme}{key}"}

    def model(self, bare_name: str) -> ModelConfig:
        """Limits and price of a model; the defaults when the configuration does not name it."""
        return self.stepped.get(bare_name) or self.models.get(bare_name, _UNCONFIGURED)

    def full_name(self, bare_name: str) -> str:
        """``provider:model``."""
        return f"{self.name}:{bare_name}"

    def key(self) -> str:
        """The API key, ``""`` for a provider that needs none.

        Raises:
            ProviderAuthFailed: the configuration names a variable, and it is empty.
        """
        variable = self.config.api_key_env
        if variable is None:
            return ""
        if key := self.environ.get(variable, "").strip():
            return key
        raise ProviderAuthFailed(
            f"provider {self.name!r} has no API key: set {variable}, or remove api_key_env from providers.{self.name} "
            "in the file that KNUDGE_CONFIG names if the server needs no key",
            model=self.name,
        )

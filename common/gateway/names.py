"""From the name a caller gives to the models that may answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import ModelNotFound

if TYPE_CHECKING:
    from common.schemas.config import GatewayConfig

DEFAULT_PROVIDER = "openai"
_FINE_TUNED = "ft"  # OpenAI's own names of fine-tuned models begin with ft:
_KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
}
# Names become part of keys in the store and labels of metrics; braces would break a cluster's hash tags.
_NAME = re.compile(r"[!-z|~]{1,256}")


@dataclass(frozen=True, slots=True)
class Chain:
    """Models as ``provider:model``, the first one first. Never empty; more than one only where a route falls back."""

    models: tuple[str, ...]


def resolve(name: str, config: GatewayConfig) -> Chain:
    """The models behind `name`: ``provider:model``, an alias, a route, or a bare name of OpenAI's.

    Only the first colon separates: ``ollama:qwen3:8b`` is ``qwen3:8b`` at ``ollama``.

    Raises:
        ModelNotFound: nothing in the configuration answers to it; the message says what would.
    """
    if not _NAME.fullmatch(name):
        raise ModelNotFound("a model's name has 1 to 256 printable ASCII characters, without spaces and braces")
    provider, _, bare = name.partition(":")
    if bare and provider in config.providers:
        return Chain((name,))
    if target := config.aliases.get(name):
        return Chain((target,))
    if route := config.routes.get(name):
        return Chain(tuple(route.models) if route.on_failure == "fallback" else (route.models[0],))
    if bare and provider != _FINE_TUNED:
        raise ModelNotFound(f"model {name!r}: provider {provider!r} is not configured; {_fix(provider, config)}", model=name)
    if DEFAULT_PROVIDER not in config.providers:
        raise ModelNotFound(
            f"model {name!r} has no provider, no alias or route is called so, and {DEFAULT_PROVIDER!r}, where such names "
            f"are looked up, is not configured; {_fix(DEFAULT_PROVIDER, config)}",
            model=name,
        )
    return Chain((f"{DEFAULT_PROVIDER}:{name}",))


def split(model: str) -> tuple[str, str]:
    """Provider and bare name of a resolved ``provider:model``."""
    provider, _, bare = model.partition(":")
    return provider, bare


def _fix(provider: str, config: GatewayConfig) -> str:
    known = f" (known: {', '.join(sorted(config.providers))})" if config.providers else ""
    key = f"set {_KEYS[provider]} or " if provider in _KEYS else ""
    return f"{key}add it under providers in the file that KNUDGE_CONFIG names{known}"

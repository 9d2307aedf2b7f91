"""Which class speaks which wire format. A new vendor is one file here, one line below, and a kind in the configuration."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from common.providers.stepping import SteppingDown

if TYPE_CHECKING:
    from common.ports import Provider
    from common.providers.account import Account
    from common.providers.http import Http
    from common.schemas.config import ProviderKind

# By name: a process pays only for the vendors it asks.
_CLASSES: dict[ProviderKind, str] = {
    "openai": "common.providers.openai_by_model:OpenAI",
    "anthropic": "common.providers.anthropic:Messages",
    "gemini": "common.providers.gemini:GenerateContent",
    "openrouter": "common.providers.openrouter:OpenRouter",
    "custom": "common.providers.custom:Custom",
    "simulator": "common.providers.simulator:Simulator",
}


def make_provider(account: Account, http: Http) -> Provider:
    """The provider behind `account`. Opens nothing."""
    module, _, name = _CLASSES[account.config.kind].partition(":")
    provider: Provider = getattr(import_module(module), name)(account, http)
    if account.config.kind == "custom":  # its template alone says what is sent
        return provider
    return SteppingDown(provider, account, native="tool" if account.config.kind == "anthropic" else "json_schema")

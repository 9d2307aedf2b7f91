"""How a JSON schema reaches a model: natively, as a tool it must call, or in words; one step down where that is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from common.errors import ProviderError, StructuredOutputRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from common.ports import Provider
    from common.providers.account import Account
    from common.schemas.completion import Completion, CompletionRequest, StreamChunk

Mode = Literal["json_schema", "tool", "text"]

_BELOW: dict[str, Mode] = {"json_schema": "tool", "tool": "text"}
_REFUSING = frozenset({400, 404, 422})
# What vendors and servers name when they refuse: OpenAI and imitations, Anthropic, Gemini, vLLM, Ollama, OpenRouter.
_TOPIC = {
    "json_schema": re.compile(
        r"response_?format|json[_ ]schema|structured[_ ]outputs?|response_?schema|response_?json_?schema|response_?mime_?type"
        r"|output_config|output_format|text\.format|guided",
        re.IGNORECASE,
    ),
    "tool": re.compile(r"\btools?\b|tool_choice|toolConfig|function.?call", re.IGNORECASE),
}
_REFUSAL = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|invalid|unavailable|not (?:available|allowed|permitted|enabled)|extra inputs"
    r"|must be|requires|unsupported",
    re.IGNORECASE,
)
_MOST_MODELS = 256


class SteppingDown:
    """Implements `common.ports.Provider` around one that takes ``structured_output`` from its account.

    The step is noted in the account, for this process and at most `_MOST_MODELS` models; nothing is asked twice here: the
    error says that the next try goes another way.

    Args:
        native: The way that holds where the configuration names none.
    """

    def __init__(self, provider: Provider, account: Account, *, native: Mode) -> None:
        self._provider = provider
        self._account = account
        self._native = native

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange. Raises `StructuredOutputRefused` when another way is left for the schema."""
        mode = self._mode(request.model)
        try:
            return await self._provider.complete(request, timeout_s=timeout_s)
        except ProviderError as error:
            if request.json_schema is None or not _refuses(error, mode):
                raise
            if self._mode(request.model) == mode:  # else another call has stepped down meanwhile
                self._step(request.model, _BELOW[mode])
            raise StructuredOutputRefused(error.message, model=error.model, status=error.status) from error

    def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The provider's own."""
        return self._provider.stream(request, timeout_s=timeout_s)

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """The provider's own."""
        return await self._provider.list_models(timeout_s=timeout_s)

    def _mode(self, model: str) -> Mode:
        return self._account.model(model).structured_output or self._native

    def _step(self, model: str, mode: Mode) -> None:
        stepped = self._account.stepped
        if len(stepped) >= _MOST_MODELS:
            stepped.clear()
        stepped[model] = self._account.model(model).model_copy(update={"structured_output": mode})


def _refuses(error: ProviderError, mode: Mode) -> bool:
    topic = _TOPIC.get(mode)
    if topic is None or error.retryable or error.status not in _REFUSING:
        return False
    return bool(topic.search(error.message) and _REFUSAL.search(error.message))

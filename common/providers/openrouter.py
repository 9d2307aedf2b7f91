"""OpenRouter: Chat Completions, and every answer says what it cost.

Source: https://openrouter.ai/docs/use-cases/usage-accounting and https://openrouter.ai/docs/api/reference/errors-and-debugging.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.providers.openai import ChatCompletions
from common.providers.wire import charged_microusd, inner

if TYPE_CHECKING:
    from common.providers.http import Reply
    from common.schemas.completion import Completion, CompletionRequest


class OpenRouter(ChatCompletions):
    """Implements `common.ports.Provider`. ``HTTP-Referer`` and ``X-Title``, which name the caller there, are ``headers``."""

    def _completion(self, reply: Reply, request: CompletionRequest) -> Completion:
        # The upstream vendor's failure stands within the choice, whose text ends where it happened.
        choices = reply.data.get("choices")
        failed = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if isinstance(failed.get("error"), dict):
            raise self._http.error_inside(failed, self._call("chat/completions", request.model, 0.0))
        return super()._completion(reply, request)

    def _told_cost(self, usage: object) -> int | None:
        if not isinstance(usage, dict):
            return None
        charged = charged_microusd(usage.get("cost"))
        if charged is None or not usage.get("is_byok"):
            return charged
        # With the account's own key at the vendor, ``cost`` is OpenRouter's fee alone, and the vendor charges for itself.
        upstream = charged_microusd(inner(usage, "cost_details").get("upstream_inference_cost"))
        return None if upstream is None else charged + upstream

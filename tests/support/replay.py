"""A stand-in for a judge that says what a judge once said: an OpenAI-compatible server over recorded replies."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

_CASE = re.compile(r'<data-([0-9a-f]+) name="item\.case">\n(.*?)\n</data-\1>')


@dataclass
class Replay:
    """An ASGI application. ``replies`` by case; the case stands in the prompt as ``{{item.case}}``.

    Asked again about a case, it gives the next of its replies, and after the last the first again. ``asked`` counts.
    """

    replies: dict[str, list[str]]
    asked: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = orjson.dumps(self._completion(orjson.loads(body)))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text = "\n".join(str(message["content"]) for message in body["messages"])
        found = _CASE.search(text)
        assert found is not None, "the prompt names no case"
        case = found[2]
        reply = self.replies[case][self.asked[case] % len(self.replies[case])]
        self.asked[case] += 1
        message = {"role": "assistant", "content": reply, "refusal": None}
        return {
            "id": f"chatcmpl-{case}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": len(text) // 4, "completion_tokens": len(reply) // 4, "total_tokens": 0},
        }

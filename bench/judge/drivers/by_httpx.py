"""The limit of our own client: httpx over aiohttp's transport, and nothing else."""

import json

import httpx
import uvloop
from driving import CRITERION, KEY, MODEL, Case, drive, each
from httpx_aiohttp import AiohttpTransport


async def _judge(base_url: str, count: int, in_flight: int) -> int:
    transport = AiohttpTransport(limits=httpx.Limits(max_connections=in_flight))
    async with httpx.AsyncClient(transport=transport, headers={"authorization": f"Bearer {KEY}"}) as client:

        async def one(case: Case) -> bool:
            said = f"{CRITERION}\n{case.question}\nReference: {case.expected}\nAnswer: {case.answer}"
            body = {"model": MODEL, "messages": [{"role": "user", "content": said}]}
            response = await client.post(f"{base_url}/chat/completions", json=body)
            completion = json.loads(response.content)
            return bool(json.loads(completion["choices"][0]["message"]["content"])["score"])

        return int(await each(count, in_flight, one))


if __name__ == "__main__":
    drive(lambda *wanted: uvloop.run(_judge(*wanted)))

"""The limit: aiohttp alone, as little Python as can ask a model and read what it says."""

import json

import aiohttp
import uvloop
from driving import CRITERION, KEY, MODEL, Case, drive, each


async def _judge(base_url: str, count: int, in_flight: int) -> int:
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers={"authorization": f"Bearer {KEY}"}) as session:

        async def one(case: Case) -> bool:
            said = f"{CRITERION}\n{case.question}\nReference: {case.expected}\nAnswer: {case.answer}"
            body = {"model": MODEL, "messages": [{"role": "user", "content": said}]}
            async with session.post(f"{base_url}/chat/completions", json=body) as response:
                completion = json.loads(await response.read())
            return bool(json.loads(completion["choices"][0]["message"]["content"])["score"])

        return int(await each(count, in_flight, one))


if __name__ == "__main__":
    drive(lambda *wanted: uvloop.run(_judge(*wanted)))

"""autoevals: `Factuality`, for which its users write their own loop."""

import asyncio

from autoevals import Factuality
from driving import KEY, MODEL, Case, drive, each
from openai import AsyncOpenAI

_RIGHT = 1.0


async def _judge(base_url: str, count: int, in_flight: int) -> int:
    async with AsyncOpenAI(base_url=base_url, api_key=KEY) as client:
        judge = Factuality(model=MODEL, client=client)

        async def one(case: Case) -> bool:
            found = await judge.eval_async(output=case.answer, expected=case.expected, input=case.question)
            return bool(found.score == _RIGHT)

        return int(await each(count, in_flight, one))


if __name__ == "__main__":
    drive(lambda *wanted: asyncio.run(_judge(*wanted)))

"""pydantic-evals: a dataset with `LLMJudge`, evaluated by its own runner."""

from driving import CRITERION, KEY, MODEL, Case, cases, drive
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_evals import Case as Row
from pydantic_evals import Dataset
from pydantic_evals.evaluators import LLMJudge


def _judge(base_url: str, count: int, in_flight: int) -> int:
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key=KEY))
    judge = LLMJudge(rubric=CRITERION, model=model, include_input=True, include_expected_output=True)
    rows = [Row(inputs=case, expected_output=case.expected) for case in cases(count)]

    async def answer(case: Case) -> str:
        return str(case.answer)

    report = Dataset(name="judge", cases=rows, evaluators=[judge]).evaluate_sync(
        answer, max_concurrency=in_flight, progress=False
    )
    return sum(all(found.value for found in row.assertions.values()) for row in report.cases if row.assertions)


if __name__ == "__main__":
    drive(_judge)

"""ragas: `AspectCritic`, run by its own `evaluate`."""

from driving import CRITERION, KEY, MODEL, cases, drive
from openai import AsyncOpenAI
from ragas import EvaluationDataset, SingleTurnSample, evaluate
from ragas.llms import llm_factory
from ragas.metrics import AspectCritic
from ragas.run_config import RunConfig


def _judge(base_url: str, count: int, in_flight: int) -> int:
    llm = llm_factory(MODEL, client=AsyncOpenAI(base_url=base_url, api_key=KEY))
    judge = AspectCritic(name="correct", definition=CRITERION, llm=llm)
    rows = [SingleTurnSample(user_input=case.question, response=case.answer, reference=case.expected) for case in cases(count)]
    found = evaluate(
        EvaluationDataset(rows),
        [judge],
        run_config=RunConfig(max_workers=in_flight),
        show_progress=False,
    )
    return sum(score == 1 for score in found["correct"])


if __name__ == "__main__":
    drive(_judge)

"""inspect-ai: a task whose solver gives the answer that is there, scored by `model_graded_qa`."""

import tempfile

from driving import KEY, MODEL, cases, drive
from inspect_ai import Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import model_graded_qa
from inspect_ai.solver import Generate, Solver, TaskState, solver


@solver  # type: ignore[untyped-decorator]  # inspect-ai is not there when types are checked
def given() -> Solver:
    """The answer that came with the sample."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        del generate
        state.output = ModelOutput.from_content(MODEL, state.metadata["answer"])
        return state

    return solve


def _judge(base_url: str, count: int, in_flight: int) -> int:
    judge = get_model(f"openai-api/local/{MODEL}", base_url=base_url, api_key=KEY)
    samples = [Sample(case.question, target=case.expected, metadata={"answer": case.answer}) for case in cases(count)]
    task = Task(dataset=samples, solver=given(), scorer=model_graded_qa(model=judge))
    with tempfile.TemporaryDirectory() as logs:
        (log,) = eval(
            task,
            model="mockllm/model",
            display="none",
            log_dir=logs,
            max_samples=in_flight,
            max_connections=in_flight,
        )
    accuracy: float = log.results.scores[0].metrics["accuracy"].value
    return round(accuracy * len(samples))


if __name__ == "__main__":
    drive(_judge)

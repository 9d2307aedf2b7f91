"""deepeval: `GEval` with steps of its own, so that each verdict is one call, run by its own `evaluate`."""

from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig, ErrorConfig
from deepeval.metrics import GEval
from deepeval.models import LocalModel
from deepeval.test_case import LLMTestCase, SingleTurnParams
from driving import CRITERION, KEY, MODEL, cases, drive


def _judge(base_url: str, count: int, in_flight: int) -> int:
    shown = [SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT, SingleTurnParams.EXPECTED_OUTPUT]
    model = LocalModel(model=MODEL, base_url=base_url, api_key=KEY)
    judge = GEval("correct", evaluation_params=shown, evaluation_steps=[CRITERION], model=model)
    rows = [LLMTestCase(input=case.question, actual_output=case.answer, expected_output=case.expected) for case in cases(count)]
    found = evaluate(
        rows,
        [judge],
        async_config=AsyncConfig(max_concurrent=in_flight, throttle_value=0),
        display_config=DisplayConfig(show_indicator=False, print_results=False),
        cache_config=CacheConfig(write_cache=False, use_cache=False),
        error_config=ErrorConfig(ignore_errors=True),
    )
    return sum(result.success is True for result in found.test_results)


if __name__ == "__main__":
    drive(_judge)

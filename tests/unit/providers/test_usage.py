"""Token counts out of foreign JSON: all of them, or unknown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.providers.anthropic import usage_of_messages
from common.providers.responses import usage_of_responses
from common.providers.wire import charged_microusd, usage_of, usage_of_chat
from common.schemas.evaluation import Usage

NO_COUNT = st.one_of(
    st.floats(), st.integers(max_value=-1), st.integers(min_value=10**9 + 1), st.booleans(), st.text(), st.just([]), st.just({})
)
WHOLE: dict[Any, dict[str, Any]] = {
    usage_of_chat: {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    },
    usage_of_responses: {
        "input_tokens": 10,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 3},
    },
    usage_of_messages: {
        "input_tokens": 6,
        "output_tokens": 5,
        "cache_read_input_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 3},
    },
}


@pytest.mark.parametrize("read", WHOLE)
def test_a_whole_usage_is_read(read: Any) -> None:
    """Each vendor's counts come from where it puts them; what is null or left out counts 0."""
    expected = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4, reasoning_tokens=3)
    assert read(WHOLE[read]) == expected
    assert read({**WHOLE[read], "input_tokens_details": None, "something": "else"}).total_tokens == 15


@pytest.mark.parametrize("read", WHOLE)
@given(data=st.data())
def test_one_count_that_is_none_makes_all_unknown(read: Any, data: st.DataObject) -> None:
    """A number of tokens nobody can mean, or a text, does not leave a bill over the other counts."""
    usage = WHOLE[read]
    name = data.draw(st.sampled_from([name for name, value in usage.items() if isinstance(value, int)]))
    assert read({**usage, name: data.draw(NO_COUNT)}) == Usage()
    details = data.draw(st.sampled_from([name for name, value in usage.items() if isinstance(value, dict)]))
    assert read({**usage, details: dict.fromkeys(usage[details], data.draw(NO_COUNT))}) == Usage()


def test_more_cached_than_sent_is_unknown() -> None:
    """What would make a bill below zero is no usage."""
    assert usage_of([10], [5], cached=11, reasoning=None) == Usage()
    assert usage_of([10], [5], cached=10, reasoning=None).total_tokens == 15


@pytest.mark.parametrize(("dollars", "microusd"), [(0.25, 250_000), (1e6, 10**12), (1e7, None), (1e30, None), (-1, None)])
def test_no_call_costs_millions(dollars: float, microusd: int | None) -> None:
    """A cost that no sum could hold is unknown."""
    assert charged_microusd(dollars) == microusd

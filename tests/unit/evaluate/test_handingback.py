"""When items that could not be finished come back."""

from __future__ import annotations

import pytest

from common.errors import BreakerOpen, KnudgeError, Overloaded, ProviderRateLimited, ProviderTimeout
from functions.evaluate.handingback import handed_back


@pytest.mark.parametrize(
    ("failure", "after_s", "counts"),
    [
        (ProviderRateLimited("slower", model="lab:a"), 1.0, False),
        (ProviderRateLimited("slower", model="lab:a", retry_after_s=0.2), 1.0, False),
        (ProviderRateLimited("slower", model="lab:a", retry_after_s=45.0), 45.0, False),
        (ProviderRateLimited("tomorrow", model="lab:a", retry_after_s=86_400.0), 60.0, False),
        (BreakerOpen("open", model="lab:a", retry_after_s=30.0), 30.0, False),
        (Overloaded("no capacity", retry_after_s=4.0, model="lab:a", limit="rpm"), 4.0, False),
        (Overloaded("no capacity", retry_after_s=3600.0, model="lab:a", limit="rpm"), 10.0, False),
        (ProviderTimeout("silence", model="lab:a"), 1.0, True),
    ],
)
def test_waits_are_those_that_were_asked_for_and_bounded(failure: KnudgeError, after_s: float, *, counts: bool) -> None:
    """A provider's wish holds up to a minute; what a queue of ours seems to take, which may soon be less, for ten seconds."""
    back = handed_back(failure)
    assert (back.after_s, back.counts) == (after_s, counts)

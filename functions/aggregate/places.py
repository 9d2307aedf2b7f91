"""Room for what takes seconds and hundreds of megabytes: few at a time, so that the rest of the process stays quick."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.errors import Overloaded

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator


@contextmanager
def place(places: threading.BoundedSemaphore) -> Iterator[None]:
    """One of `places`, without waiting.

    Raises:
        Overloaded: all are taken.
    """
    if not places.acquire(blocking=False):
        raise Overloaded("statistics are being worked out for others, try again", retry_after_s=2.0)
    try:
        yield
    finally:
        places.release()

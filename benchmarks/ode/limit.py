"""A limit on seconds that holds for whatever runs: ours, a peer's callbacks, a backward pass."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TooLong(BaseException):
    """The limit is reached. No `except Exception` on the way swallows it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `TooLong` in the block after so many seconds; None sets no limit. In the main thread only.

    Where the system has no interval timer (Windows) nothing is limited.

    Example:
        >>> with time_limit(60):
        ...     1 + 1
        2
    """
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong(f"over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # once more each second, should a library swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


__all__ = ["TooLong", "time_limit"]

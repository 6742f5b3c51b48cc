"""Who wants to hear how far a grid is."""

from collections.abc import Callable

Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done
Tell = Callable[[float], None]  # the share alone


def silent(share: float) -> None:
    """Nobody."""


def telling(progress: Progress | None, what: str) -> Tell:
    """Shares of one thing, begun with none."""
    if progress is None:
        return silent
    progress(what, 0.0)
    return lambda share: progress(what, min(share, 1.0))


__all__ = ["Progress", "Tell", "silent", "telling"]

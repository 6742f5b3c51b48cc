"""A progress bar on stderr, where a person watches; silence elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """What a command tells while it works; does nothing without a display.

    Args:
        display: A rich progress display, or None.
        total: In how many parts the work falls.
    """

    def __init__(self, display: "Progress | None" = None, total: float | None = None) -> None:
        self._display = display
        self._task = None if display is None else display.add_task("", total=total, detail="")

    def begin(self, what: str) -> None:
        """A new part of the work; all earlier ones are done."""
        if self._display is not None and self._task is not None:
            started = bool(self._display.tasks[0].description)
            self._display.update(self._task, description=what, detail="", advance=1.0 if started else 0.0)

    def detail(self, text: str) -> None:
        """How far this part is."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, detail=text)

    def count(self, done: int, total: int) -> None:
        """How far work is whose steps can be counted."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, completed=done, total=total)

    def share(self, what: str, share: float) -> None:
        """What is being done and how much of it is, as methods for densities and trainings tell it."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, completed=share, total=1.0, detail=what)

    def likelihood(self, route: str, loglik: float) -> None:
        """A step of a fit, as `pdekit.fit(progress=...)` tells it."""
        self.detail(f"{route}, log-likelihood {loglik:.2f}")


@contextmanager
def progress_bar(*, total: float | None = None, quiet: bool = False) -> Iterator[Bar]:
    """A bar that vanishes when the block ends; one that shows nothing if stderr is not a terminal, or when quiet."""
    if quiet or not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        yield Bar(display, total)

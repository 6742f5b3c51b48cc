"""Running a property over many drawn examples: seeded, shrunk to the simplest failure, without noise in the output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def for_all(
    strategy: "SearchStrategy[Any]",
    check: Callable[[Any], None],
    *,
    examples: int,
    seed: int,
    shrink: bool = True,
) -> None:
    """Calls `check` with drawn examples.

    Args:
        strategy: What is drawn.
        check: Raises where an example fails.
        examples: How many.
        seed: The same seed draws the same examples.
        shrink: Whether a failure is reduced to a simple one first.

    Raises:
        Exception: What `check` raised for the simplest failing example.
    """
    import hypothesis

    phases = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])]
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),  # type: ignore[arg-type]
        verbosity=hypothesis.Verbosity.quiet,
    )

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(strategy)
    def property_of(example: Any) -> None:
        check(example)

    property_of()


__all__ = ["for_all"]

"""Running a property over many drawn examples: seeded, shrunk to the simplest failure, without noise in the output."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pdekit.errors import UnsupportedError
from pdekit.testing.comparison import CheckFailure

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
        UnsupportedError: If Hypothesis is not installed.
        Exception: What `check` raised for the simplest failing example.
    """
    require_hypothesis()
    import hypothesis
    from hypothesis.errors import Flaky

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

    try:
        property_of()
    except Flaky as flaky:
        raise CheckFailure("drawn examples", f"the same example passes once and fails once: {flaky}") from flaky


def require_hypothesis() -> None:
    """Says how to get Hypothesis where it is missing.

    Raises:
        UnsupportedError: If it is not installed.
    """
    if find_spec("hypothesis") is None:
        raise UnsupportedError("Drawing examples needs Hypothesis: pip install 'pdekit[testing]'.")


__all__ = ["for_all", "require_hypothesis"]

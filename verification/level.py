"""How much is verified: a minute, half an hour, or a night."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """Sizes of a run.

    Args:
        name: `"quick"`, `"default"` or `"full"`.
        examples: Trials of each operator and form of functions.
        compiled: How many of them are compiled.
        nets: Hollow nets.
        alarms: Examples of checks that take under 10 ms.
        slow_alarms: Examples of the others.
        paths: Simulated paths per measurement.
    """

    name: str
    examples: int
    compiled: int
    nets: int
    alarms: int
    slow_alarms: int
    paths: int


LEVELS = {
    "quick": Level("quick", 8, 0, 6, 50, 10, 500),
    "default": Level("default", 200, 5, 60, 10_000, 200, 2000),
    "full": Level("full", 3000, 50, 600, 100_000, 2000, 20_000),
}

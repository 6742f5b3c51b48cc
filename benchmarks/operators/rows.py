"""Rows from measured ways."""

from benchmarks.operators.measure import Measured, duration
from benchmarks.results import Row, at_least, at_most


def over_forward(metric: str, one: Measured, forward: Measured, limit: float | None = None, *notes: str) -> Row:
    """How many times the same net's forward, measured in the same rounds."""
    return over(metric, one, forward, "x forward", limit, *notes)


def over(metric: str, one: Measured, other: Measured, unit: str, limit: float | None = None, *notes: str) -> Row:
    """How many times another way's time, at most `limit`."""
    return _judged(metric, one.over(other), unit, "<=", limit, _both(one, other, notes))


def faster(metric: str, one: Measured, other: Measured, unit: str, limit: float | None = None, *notes: str) -> Row:
    """How many times faster than another way, at least `limit`."""
    told = (f"against {duration(other.median)}" if other.seconds else "", *notes)
    return _judged(metric, other.over(one), unit, ">=", limit, _both(one, other, told))


def peer(metric: str, one: Measured, base: Measured, unit: str, *notes: str) -> Row:
    """A peer's time, given for comparison: what it gets wrong, or can't do, misses no target of ours."""
    if one.failure:
        return Row(metric, "failed", detail=one.story(*notes))
    return Row(metric, one.over(base), unit, detail=one.story(*notes))


def _both(one: Measured, other: Measured, notes: tuple[str, ...]) -> tuple[str, str]:
    failure = one.failure or other.failure
    return failure, one.story(*notes)


def _judged(metric: str, value: float, unit: str, sign: str, limit: float | None, told: tuple[str, str]) -> Row:
    failure, detail = told
    if failure:  # without a limit too: what we offer must at least be right
        return Row(metric, "failed", "", f"{sign} {limit:g}" if limit else "a right value", False, failure)
    if limit is None:
        return Row(metric, value, unit, detail=detail)
    return (at_most if sign == "<=" else at_least)(metric, value, limit, unit, detail)

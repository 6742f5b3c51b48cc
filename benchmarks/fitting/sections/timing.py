"""Wall-clock time of a fit with standard errors, after import, and of a gradient with many distinct steps."""

import statistics

import numpy as np

from benchmarks.fitting import samples, subject
from benchmarks.fitting.truth import double_well
from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Time of a fit"
_CASES = ((0.5, 5000, 0.5), (0.01, 100_000, 2.0))  # dt, n, limit in seconds
_REPEATS = 5
_DISTINCT_STEPS = 200
# label, step of the fine series, smallest step as its multiple, limit in seconds (None: for information)
_IRREGULAR = ((".25 to .75", 0.0025, 100, 0.3), (".01 to 2", 0.01, 1, None))


def run(context: Context) -> list[Row]:
    """Medians over five different series, this process alone and with its fixed number of threads."""
    subject.load()
    process, rows = double_well(), []
    for dt, n, limit in _CASES:
        samples.prepare(process, dt, n, _REPEATS, context.cache)
        seconds = []
        for seed in range(_REPEATS):
            x = samples.path(process, dt, n, seed, context.cache)
            seconds.append(subject.fit_series(process, dt, x)["seconds"])
        rows.append(_row(f"fit with standard errors, dt {dt:g}, {n} points", seconds, limit, context))
    for label, fine, smallest, limit in _IRREGULAR:
        series = _irregular(fine, smallest, context)
        seconds = subject.gradient_seconds(process, [series], _REPEATS)
        metric = f"gradient, {_DISTINCT_STEPS} distinct steps {label}, {len(series[0]) - 1} pairs"
        rows.append(_row(metric, seconds, limit, context))
    return rows


def _irregular(fine: float, smallest: int, context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Times and values at 200 distinct steps, each used equally often, picked from a finely sampled series."""
    gaps = np.repeat(np.arange(smallest, smallest + _DISTINCT_STEPS), 5000 // _DISTINCT_STEPS)
    index = np.concatenate([[0], np.cumsum(np.random.default_rng(0).permutation(gaps))])
    samples.prepare(double_well(), fine, int(index[-1]), 1, context.cache)
    return index * fine, samples.path(double_well(), fine, int(index[-1]), 0, context.cache)[index]


def _row(metric: str, seconds: list[float], limit: float | None, context: Context) -> Row:
    spread = f"median of {len(seconds)}; first {seconds[0]:.3f}, {min(seconds):.3f} to {max(seconds):.3f} s"
    detail = f"{spread}; {context.threads} threads"
    median = statistics.median(seconds)
    return Row(metric, median, "s", detail=detail) if limit is None else at_most(metric, median, limit, "s", detail)

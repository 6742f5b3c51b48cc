"""Path-steps per second beside torchsde, and one path of a million steps."""

import statistics
import time
import warnings
from collections.abc import Callable

from benchmarks.fitting import subject
from benchmarks.fitting.truth import double_well, ornstein_uhlenbeck
from benchmarks.results import Row, at_least
from benchmarks.runner import Context

TITLE = "Simulation: Euler, float64, 1000 steps of .01, batch 10,000"
_BATCH, _STEPS, _DT = 10_000, 1000, 0.01
_REPEATS = 3
_TARGET = 20.0  # million path-steps per second
_LONG, _PEER_LONG = 1_000_000, 50_000


def run(context: Context) -> list[Row]:
    """Throughput of pdekit and torchsde in turn on the same coefficients, then long single paths."""
    rows = []
    for process in (ornstein_uhlenbeck(), double_well()):
        rates: dict[str, list[float]] = {"pdekit": [], "torchsde": []}
        for seed in range(_REPEATS):  # alternating, so that a busy moment of the machine hits both
            rates["pdekit"].append(_rate(lambda p=process, s=seed: subject.simulate(p, _BATCH, _STEPS, _DT, s)))
            rates["torchsde"].append(
                _rate(lambda p=process, s=seed: subject.simulate_torchsde(p, _BATCH, _STEPS, _DT, s))
            )
        ours, peer = (statistics.median(rates[name]) for name in rates)
        detail = f"median of {_REPEATS}, {context.threads} threads; {ours / peer:.1f} times torchsde"
        rows += [
            at_least(f"{process.name}: pdekit", ours, _TARGET, "M path-steps/s", detail),
            Row(f"{process.name}: torchsde", peer, "M path-steps/s", detail="for comparison"),
        ]
    return [*rows, _long(), _peer_long()]


def _rate(simulate: Callable[[], object]) -> float:
    begun = time.perf_counter()
    simulate()
    return _BATCH * _STEPS / (time.perf_counter() - begun) / 1e6


def _long() -> Row:
    begun = time.perf_counter()
    values = subject.simulate(double_well(), 1, _LONG, _DT, 0)
    seconds = time.perf_counter() - begun
    finite = bool(values.isfinite().all()) and len(values) == _LONG + 1
    return Row("one path of 1,000,000 steps: pdekit", seconds, "s", "finite, every step kept", finite)


def _peer_long() -> Row:
    metric = f"one path of {_PEER_LONG:,} steps: torchsde"
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject.simulate_torchsde(double_well(), 1, _PEER_LONG, _DT, 0)
    except RecursionError as error:
        return Row(metric, type(error).__name__, detail="for comparison")
    return Row(metric, time.perf_counter() - begun, "s", detail="for comparison")

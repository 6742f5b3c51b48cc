"""Several ways to compute one thing, side by side: first the value of each against the truth, then memory, then time.

Rounds are interleaved (A, B, C, A, B, C, ...), so that a busy or a hot moment of the machine hits all ways alike, and
ratios are taken within a round before their median is.
"""

import ctypes
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.runner import Context

ROUNDS, FULL_ROUNDS, QUICK_ROUNDS = 20, 100, 2
SLOW, SLOW_ROUNDS = 2.0, 5  # what takes longer than this many seconds is repeated less often
_BLOCK = 0.01  # seconds; shorter calls are repeated until they fill such a block
_SHORT = 0.05  # seconds; shorter calls are preceded by one that warms the caches the other ways have emptied
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Way:
    """One way to compute something.

    Args:
        run: What is timed.
        truth: The right result in float64, or that of the first rows of the batch; None where nothing is claimed.
        check: From what `run` returns to what is compared with the truth.
        limit: The largest relative error that may be timed.
    """

    run: Callable[[], Any]
    truth: Any = None
    check: Callable[[Any], Any] = lambda result: result
    limit: float = 1e-4


@dataclass(frozen=True)
class Measured:
    """What a way takes.

    Args:
        seconds: Per call, one number per round.
        peak: Memory in MiB that a call takes on top of what was there; None where the system does not tell.
        error: Relative error; None where nothing is claimed.
        failure: Why nothing was timed.
    """

    seconds: tuple[float, ...] = ()
    peak: float | None = None
    error: float | None = None
    failure: str = ""

    @property
    def median(self) -> float:
        """Median seconds per call; NaN if nothing was timed."""
        return statistics.median(self.seconds) if self.seconds else math.nan

    def over(self, other: "Measured") -> float:
        """How many times the seconds of another way: the median over the rounds that both took part in."""
        ratios = [mine / its for mine, its in zip(self.seconds, other.seconds, strict=False)]
        return statistics.median(ratios) if ratios else math.nan

    def story(self, *notes: str) -> str:
        """Time, rounds, memory and error in words."""
        if self.failure:
            return "; ".join(note for note in (self.failure, *notes) if note)
        low, high = min(self.seconds), max(self.seconds)
        parts = [f"{duration(self.median)} ({duration(low)} to {duration(high)}, {len(self.seconds)} rounds)"]
        if self.peak is not None:
            parts.append(f"{self.peak:.1f} MiB" if self.peak < 10 else f"{self.peak:.0f} MiB")
        if self.error is not None:
            parts.append(f"error {self.error:.0e}")
        return "; ".join(part for part in (*parts, *notes) if part)


def measure(
    label: str,
    ways: Mapping[str, Way],
    context: Context,
    *,
    device: torch.device | str = "cpu",
    out_of_reach: float = math.inf,
) -> dict[str, Measured]:
    """Check and time several ways.

    Args:
        label: What they compute, for the progress line.
        ways: By name.
        context: Whether the run is full or quick.
        device: Where they run.
        out_of_reach: Ways that take so many times the fastest one's time in a trial are not timed any further.

    Returns:
        What each takes. One whose value is wrong, or that raises, has a `failure` and no times.
    """
    begun, device = time.perf_counter(), torch.device(device)
    gc.collect()
    gc.freeze()  # what was there before need not be searched for garbage before each look at the memory
    found = {name: _tried(way, device) for name, way in ways.items()}
    gc.unfreeze()
    trial = {name: _trial(ways[name].run, device) for name, one in found.items() if not one.failure}
    reach = out_of_reach * min(trial.values(), default=0.0)
    seconds: dict[str, list[float]] = {name: [] for name, once in trial.items() if once <= reach}
    rounds = QUICK_ROUNDS if context.quick else FULL_ROUNDS if context.full else ROUNDS
    for number in range(rounds):
        for name in seconds:
            if trial[name] <= SLOW or number < SLOW_ROUNDS:
                seconds[name].append(_block(ways[name].run, trial[name], device))
    for name, one in found.items():
        if name in seconds:
            found[name] = Measured(tuple(seconds[name]), one.peak, one.error)
        elif name in trial:
            found[name] = Measured((), one.peak, one.error, f"not timed further: {duration(trial[name])} in a trial")
    print(f"{label}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
    return found


def relative_error(value: Any, truth: Any) -> float:
    """Largest deviation over largest true magnitude, of the first rows of `value` where `truth` has fewer."""
    value, truth = (np.atleast_1d(np.asarray(_plain(z), dtype=np.float64)) for z in (value, truth))
    if value.shape[1:] != truth.shape[1:] or len(value) < len(truth):
        raise ValueError(f"a value of shape {value.shape} can't be compared with a truth of shape {truth.shape}")
    return float(np.abs(value[: len(truth)] - truth).max() / np.abs(truth).max())


def duration(seconds: float) -> str:
    """Seconds in words, three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 0.9995 or unit == "us":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError


def _tried(way: Way, device: torch.device) -> Measured:
    try:
        result = way.run()  # also warms up: compilation, checks that an operator makes once per function
        error = None if way.truth is None else relative_error(way.check(result), way.truth)
    except Exception as problem:  # a peer's or our own failure is a result
        text = str(problem).splitlines()
        return Measured(failure=f"{type(problem).__name__}: {text[0] if text else ''}"[:300])
    if error is not None and not error <= way.limit:
        return Measured(error=error, failure=f"wrong: relative error {error:.1e}, admitted {way.limit:.0e}")
    del result
    return Measured(peak=peak_memory(way.run, device), error=error)


def _trial(run: Callable[[], Any], device: torch.device) -> float:
    once = _timed(run, 1, device)
    return once if once > 0.1 else min(once, *(_timed(run, 1, device) for _ in range(2)))


def _block(run: Callable[[], Any], expected: float, device: torch.device) -> float:
    if expected < _SHORT:
        run()
    return _timed(run, min(1000, math.ceil(_BLOCK / expected)), device)


def _timed(run: Callable[[], Any], calls: int, device: torch.device) -> float:
    _wait(device)
    begun = time.perf_counter()
    for _ in range(calls):
        run()
    _wait(device)
    return (time.perf_counter() - begun) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(run: Callable[[], Any], device: torch.device) -> float | None:
    """MiB that one call takes at its peak on top of what is held before it.

    On the processor this is the growth of the resident set, with its high-water mark reset before the call: whatever
    library allocates, it counts. Linux only; elsewhere None.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / _MEBIBYTE
    with suppress(OSError, AttributeError):  # freed memory that the allocator still holds would hide what a call takes
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / _MEBIBYTE
    except OSError:
        return None


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().double().numpy()
    if isinstance(value, list | tuple):
        return np.stack([_plain(z) for z in value])
    return value

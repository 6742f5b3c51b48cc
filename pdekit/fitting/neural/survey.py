"""One look at all transitions: the scales of states, noise and time, and what is wrong with the data."""

import math
from dataclasses import dataclass

import torch

from pdekit.errors import DataError
from pdekit.fitting.neural.member import Units
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.transitions import Rows, Source, pieces

_PORTION = 65_536
_FEWEST = 100
_SAMPLE, _PIECES = 2000, 64


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        units: The scales of the data.
        n: The number of transitions.
        duration: Their steps, summed.
        longest, shortest: The greatest and the smallest step.
        sample: Some 2000 transitions, evenly chosen.
    """

    units: Units
    n: int
    duration: float
    longest: float
    shortest: float
    sample: Rows


def survey(source: Source, processes: Processes) -> Survey:
    """Look at all transitions.

    Raises:
        DataError: If there are too few, a state never changes, or a number is not finite.
    """
    n, d = sum(source.counts), len(source.names)
    needed = max(_FEWEST, 4 * (d + 1))
    if n < needed:
        raise DataError(
            f"There are {n} transitions; a network in {d} state(s) needs at least {needed}, and mostly thousands. Take "
            "a longer record, or fit a SymbolicSDE or pk.KramersMoyal()."
        )
    origin = source.piece(0).x0[0]  # the variance of large numbers that hardly differ is taken about one of them
    sums = torch.zeros(4, d, dtype=torch.float64)
    ends = torch.full((2, d + 2), -math.inf, dtype=torch.float64)  # of the states, the time and the step
    for rows in pieces(source, _PORTION, processes.rank, processes.count):
        bad = ~(torch.isfinite(rows.x0).all(-1) & torch.isfinite(rows.x1).all(-1) & (rows.dt[:, 0] > 0))
        if bool(bad.any()):
            number = int(rows.index[bad][0])
            raise DataError(f"Transition {number + 1}: a state is not finite, or the time does not increase.")
        both = torch.cat([rows.x0, rows.x1])
        step = rows.x1 - rows.x0
        about, rate = rows.x0 - origin, step.square() / rows.dt
        sums += torch.stack([about.sum(0), about.square().sum(0), rate.sum(0), rows.dt.sum().expand(d)])
        wide = torch.cat([both, torch.cat([rows.t, rows.t + rows.dt]), rows.dt.repeat(2, 1)], -1)
        ends = torch.maximum(ends, torch.stack([-wide.amin(0), wide.amax(0)]))
    processes.sum([sums])
    processes.greatest(ends)
    low, high = -ends[0], ends[1]
    mean = sums[0] / n
    spread = (sums[1] / n - mean.square()).clamp_min(0.0).sqrt()
    noise = (sums[2] / n).sqrt()
    for name, s, g in zip(source.names, spread.tolist(), noise.tolist(), strict=True):
        if not (s > 0 and g > 0):
            raise DataError(f"{name} does not change from one observation to the next; leave it out.")
    clock = torch.stack([0.5 * (low[d] + high[d]), (0.5 * (high[d] - low[d])).clamp_min(1e-300)])
    units = Units(origin + mean, spread, low[:d].clone(), high[:d].clone(), noise, clock)
    return Survey(units, n, float(sums[3, 0]), float(high[d + 1]), float(low[d + 1]), _sample(source))


def _sample(source: Source) -> Rows:
    """Evenly chosen transitions from evenly chosen pieces."""
    chosen = sorted({int(k) for k in torch.linspace(0, len(source.counts) - 1, min(len(source.counts), _PIECES))})
    stride = -(-sum(source.counts[k] for k in chosen) // _SAMPLE)
    parts, before = [], 0
    for number in chosen:
        first, count = -before % stride, source.counts[number]
        if first < count:
            parts.append(source.piece(number).at(slice(first, None, stride)))
        before += count
    return Rows.joined(parts)


__all__ = ["Survey", "survey"]

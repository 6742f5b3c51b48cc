"""Records simulated from a fitted SDE, to be compared with the observed one, at a bounded cost."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.errors import NumericalError, PdekitError
from pdekit.fitting.evidence import Evidence
from pdekit.fitting.forecast import forecast_times
from pdekit.sde import SDE
from pdekit.simulation import Simulation, simulate

# Steps follow one another at some 0.1 ms each however many paths take them, so a page waits about a second for these.
_MOST_STEPS, _FUTURE_STEPS = 8_000, 3_000
_RECORDS, _MOST_PATHS = 200, 50
_FUTURES, _FUTURE_POINTS = 200, 150
_LONGER = 64.0


@dataclass(frozen=True, eq=False)
class Replicas:
    """Records simulated from the fitted SDE at times of the observed one, each path from its first observation.

    Attributes:
        times: Per path, (n_p,): the observed times, or every k-th of them.
        observed: The data at those times, per path, (n_p, d).
        simulated: Per path, (n_p, records, d).
        whole: Whether the record was used from beginning to end.
    """

    times: tuple[Tensor, ...]
    observed: tuple[Tensor, ...]
    simulated: tuple[Tensor, ...]
    whole: bool

    @property
    def records(self) -> int:
        """How many records were simulated."""
        return self.simulated[0].shape[1]


def fitted_sde(evidence: Evidence) -> SDE:
    """The equation at the estimate."""
    return evidence.model.at(**evidence.model.named(evidence.theta))


def simulate_replicas(evidence: Evidence, *, slot: float) -> Replicas | str:
    """Simulates 200 records from the fitted SDE; where that fails, the reason as a plain sentence.

    Args:
        evidence: The fit.
        slot: The time resolution that is needed; observations that are closer are thinned.
    """
    data = evidence.data
    stride = max(1, int(slot / float(evidence.pairs.dt.median()) + 1e-6))
    thinned = [(t[::stride], x[::stride]) for t, x in zip(data.times, data.values, strict=True)]
    thinned = [(t, x) for t, x in thinned if len(t) > 1]
    if not thinned:
        return "no path is long enough."
    sde = fitted_sde(evidence)
    try:
        times, values = thinned[0]
        dt = _step(sde, float(times.diff().median()), values[0], evidence.seed)
        kept = _affordable(thinned[:_MOST_PATHS], dt)
        simulated = _simulate_alike(sde, kept, dt, evidence.seed)
    except PdekitError as error:
        return f"the fitted SDE could not be simulated. {error}"
    whole = sum(len(t) for t, _ in kept) == sum(len(t) for t, _ in thinned)
    return Replicas(tuple(t for t, _ in kept), tuple(x for _, x in kept), simulated, whole)


def simulate_future(evidence: Evidence, horizon: float) -> Simulation | str:
    """Simulates 200 continuations of the last path, over less than `horizon` if that is costly, or says why not."""
    data = evidence.data
    sde, last = fitted_sde(evidence), data.values[-1][-1]
    try:
        dt = _step(sde, float(evidence.pairs.dt.median()), last, evidence.seed)
        if horizon > _FUTURE_STEPS * dt:
            # Longer intervals bear longer steps; but far longer ones make the pilot run search in vain.
            dt = _step(sde, min(horizon / _FUTURE_POINTS, _LONGER * dt), last, evidence.seed)
        times = forecast_times(data, min(horizon, _FUTURE_STEPS * dt), points=_FUTURE_POINTS)
        return simulate(sde, last, times, paths=_FUTURES, dt=dt, seed=evidence.seed)
    except PdekitError as error:
        return f"the fitted SDE could not be simulated. {error}"


def _step(sde: SDE, interval: float, start: Tensor, seed: int) -> float:
    """The internal step that a pilot run finds for output intervals of this length."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return simulate(sde, start, [0.0, interval], seed=seed).dt
        except UserWarning as warning:
            raise NumericalError(str(warning)) from None


def _affordable(paths: list[tuple[Tensor, Tensor]], dt: float) -> list[tuple[Tensor, Tensor]]:
    """The first paths, and of the last of them the first part, that take no more steps than allowed."""
    left, kept, seen = _MOST_STEPS, [], set()
    for t, x in paths:
        spent = (t.diff() / dt).ceil().cumsum(0)
        alike = t.numpy().tobytes() in seen  # simulated together with an earlier path, at no further step
        count = len(t) if alike else 1 + int((spent <= left).sum())
        if count >= 2:
            kept.append((t[:count], x[:count]))
            left -= 0 if alike else int(spent[count - 2])
            seen.add(t[:count].numpy().tobytes())
    # One transition is simulated whatever it costs, so that there is something to compare.
    return kept or [(paths[0][0][:2], paths[0][1][:2])]


def _simulate_alike(sde: SDE, paths: list[tuple[Tensor, Tensor]], dt: float, seed: int) -> tuple[Tensor, ...]:
    """(n_p, records, d) per path; paths observed at the same times are simulated together."""
    groups: dict[bytes, list[int]] = {}
    for i, (t, _) in enumerate(paths):
        groups.setdefault(t.numpy().tobytes(), []).append(i)
    out: dict[int, Tensor] = {}
    for number, members in enumerate(groups.values()):
        starts = torch.stack([paths[i][1][0] for i in members]).repeat_interleave(_RECORDS, 0)
        values = simulate(sde, starts, paths[members[0]][0], dt=dt, seed=seed + number).values
        out |= dict(zip(members, values.split(_RECORDS, 1), strict=True))
    return tuple(out[i] for i in range(len(paths)))

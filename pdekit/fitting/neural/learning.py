"""From data to a learned SDE: `train`."""

import copy
import math
from collections.abc import Callable

import numpy as np

from pdekit.data import Trajectories
from pdekit.errors import InputError
from pdekit.fitting.neural.flags import findings
from pdekit.fitting.neural.heads import Found, find_heads
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.network_sde import NetworkSDE, NeuralHistory
from pdekit.fitting.neural.options import NeuralSDE
from pdekit.fitting.neural.polish import can_polish, polish
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.step_check import settle
from pdekit.fitting.neural.stream import TransitionStream
from pdekit.fitting.neural.survey import Survey, survey
from pdekit.fitting.neural.training import Position, Trainer
from pdekit.fitting.neural.transitions import PairsSource, Source
from pdekit.seeds import check_seed
from pdekit.threads import one_thread

Progress = Callable[[str, float], None]


def train(
    options: NeuralSDE, data: Trajectories | TransitionStream, *, seed: int = 0, progress: Progress | None = None
) -> NetworkSDE:
    """Learn drift and noise from observed transitions.

    Started by `torchrun`, the processes share batches and sums; each returns the same result.

    Args:
        options: What to learn, and how.
        data: Trajectories, or a stream from disk.
        seed: Of networks, blocks and batches.
        progress: Called with what is done and the share of it.

    Raises:
        DataError: If there are too few transitions, or a state never changes.
        InputError: If the checkpoint belongs to another training.
        NumericalError: If the training diverges.

    Example:
        >>> import torch
        >>> import pdekit as pk
        >>> sde = pk.models.get("double_well").at(a=1.0, b=1.0, sigma=0.5)
        >>> path = pk.simulate(sde, 1.0, torch.arange(2001.0) / 20, seed=1)
        >>> data = pk.Trajectories.from_arrays(path.times, path.values[:, 0])
        >>> learned = train(NeuralSDE(hidden=(16,), ensemble=2, training=pk.Training(steps=20)), data)
        >>> learned.drift(0.0, torch.zeros(4, 1)).shape
        torch.Size([4, 1])
    """
    if not isinstance(options, NeuralSDE):
        raise InputError(f"NeuralSDE(...) was expected, got {type(options).__name__}.")
    if not isinstance(data, Trajectories | TransitionStream):
        raise InputError(f"Trajectories or a TransitionStream were expected, got {type(data).__name__}.")
    check_seed(seed, 40)
    source: Source = PairsSource(data.pairs(), data.names) if isinstance(data, Trajectories) else data
    processes = Processes.join(options.device)
    with one_thread(sum(source.counts)):
        seen = survey(source, processes)
        trainer = Trainer(options, source, seen, seed=seed, processes=processes, progress=progress)
        trainer.run()
        return _finish(trainer, progress if processes.first else None)


def _finish(trainer: Trainer, progress: Progress | None) -> NetworkSDE:
    """The chosen networks with their weights from all data."""
    options, seen, at = trainer.options, trainer.seen, trainer.at
    members, found, polished = [], [], False
    for k, best in enumerate(trainer.members["best"]):
        if progress is not None:
            progress(f"member {k + 1}: weights from all data", 0.95 + 0.05 * k / options.ensemble)
        member = copy.deepcopy(best)
        view = trainer.view(None)
        if at.substeps:
            known, _ = settle(member, view, seen.sample.to(options.device), at.substeps)
        else:
            known = find_heads(member, view)
        member = member.cpu()
        known = Found(*(type(p)(*(v.cpu() for v in p)) for p in (known.drift, known.noise)))
        if can_polish(member, seen, at.substeps):
            known, polished = polish(member, known, trainer.source), True
        members.append(member)
        found.append(known)
    history = _history(at, seen)
    names = trainer.source.names
    infinite = (-math.inf, math.inf)
    return NetworkSDE(
        members,
        found,
        states=seen.sample.x0,
        times=seen.sample.t,
        weight=(seen.duration / len(seen.sample), seen.n / len(seen.sample)),
        history=history,
        details=_details(trainer, history, members, found, polished),
        flags=findings(options, seen, at, history, members, polished=polished),
        state_names=names,
        domain=(infinite,) * len(names),
        reach=tuple(zip(seen.units.low.tolist(), seen.units.high.tolist(), strict=True)),
        diagonal=options.noise != "cholesky" or len(names) == 1,
        autonomous=not options.time,
        name="neural SDE",
        description=f"Drift and noise are the mean of {options.ensemble} networks.",
    )


def _history(at: Position, seen: Survey) -> NeuralHistory:
    gains, errors = zip(*(at.gained(r) for r in range(len(at.scores))), strict=True)
    n = max(at.scores[0][2], 1.0)
    return NeuralHistory(
        steps=np.array(at.steps, dtype=float),
        losses=np.array([np.nan, *at.history]),
        held_out=(at.level[0] + np.array(gains)) / n,
        gains=np.array(gains),
        errors=np.array(errors),
        chosen=at.best,
    )


def _details(
    trainer: Trainer, history: NeuralHistory, members: list[Member], found: list[Found], polished: bool
) -> tuple[tuple[str, str], ...]:
    options, at = trainer.options, trainer.at
    drift = np.mean([float(f.drift.effective.sum()) for f in found])
    noise = np.mean([float(f.noise.effective.sum()) for f in found])
    if polished:
        steps = "Fokker-Planck on a grid"
    else:
        steps = f"normal, moments over {at.substeps} substep(s)" if at.substeps else "Euler"
    kept = f"trained for {int(history.steps[history.chosen])} steps" if history.chosen else "as initialised"
    return (
        ("Network", f"{options.network}, hidden {options.hidden}, {options.activation}, {options.noise} noise"),
        ("Members", f"{len(members)}, each of {sum(p.numel() for p in members[0].parameters()):,} parameters"),
        ("Effective parameters", f"{drift:.1f} in the drift, {noise:.1f} in the noise (mean over members)"),
        ("Likelihood of the training", steps),
        ("Units", f"{kept}; held-out log-likelihood {history.held_out[history.chosen]:.6g} per transition"),
        ("Training", f"{int(history.steps[-1])} steps of {options.training.batch} per member, {at.seconds:.0f} s"),
        ("Seed", str(trainer.seed)),
    )


__all__ = ["train"]

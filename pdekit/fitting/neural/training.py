"""The rounds of a training: every member by Adam, then its weights by regression, then what held-out data say.

Everything random is a function of the seed and the number of the step, and everything that a step depends on is in the
checkpoint, so that a training that was killed goes on as if it had not been.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from pdekit.checkpoint import Checkpoint
from pdekit.errors import NumericalError
from pdekit.fitting.neural.heads import Found, View, find_drift, find_heads
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.moments import TurnedSource, log_density
from pdekit.fitting.neural.options import NeuralSDE
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.step_check import check_step, settle
from pdekit.fitting.neural.survey import Survey
from pdekit.fitting.neural.transitions import Batches, Folds, Rows, Source
from pdekit.training import Progress

# The first layer sees states times one of these: the smaller, the smoother the untrained network.
_GAINS = (0.25, 0.5, 1.0, 2.0)
# Units of a smooth network are nearly collinear, and their weights large and of both signs: a step of Adam on the units
# would wreck what they add up to. So training begins from this gain, unless the best one is greater.
_TRAINED_GAIN = 1.0
_ROUNDS, _SHORTEST = 40, 50  # rounds at most, and steps in each at least
_WARM = 100  # steps with a growing rate
_EVERY = 30.0  # seconds between two checkpoints
# Within rounds, regressions pass over no more than so many products of columns; at the end they see everything.
_PRODUCTS = 4e10
_ROLES = ("live", "average", "start", "candidate", "best", "reference")


@dataclass
class Position:
    """Where a training stands; JSON can hold it.

    Attributes:
        ready: Members that have begun.
        round, member, step: The round (from 1), the member that is being trained in it, and its steps in this round.
        lost: The sum of this round's losses so far.
        losses: This round's mean losses of the members that are done with it.
        scores: Per round: the sums over held-out transitions of the gain over the start, its square, and their number.
        level: At the start: the sum of held-out log-densities, and those of its gain over the linear drift.
        steps, history: Steps of a member at the end of each round, and its mean losses.
        best: The round whose networks are kept.
        top: The round that gained most so far.
        gain: The scale of the networks' inputs.
        substeps, bias: As in `StepCheck`.
        seconds: Spent so far.
        finished: Whether the rounds are over.
    """

    ready: int = 0
    round: int = 1
    member: int = 0
    step: int = 0
    lost: float = 0.0
    losses: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0, 0.0]])
    level: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    steps: list[int] = field(default_factory=lambda: [0])
    history: list[float] = field(default_factory=list)
    best: int = 0
    top: int = 1
    gain: float = 0.0
    substeps: int = 0
    bias: float = 0.0
    seconds: float = 0.0
    finished: bool = False

    def gained(self, number: int) -> tuple[float, float]:
        """What a round's networks gain over those of the start on held-out data, and the standard error of that."""
        total, squares, n = self.scores[number]
        return total, max(squares - total * total / max(n, 1.0), 0.0) ** 0.5


class Trainer:
    """A training and its state.

    Args:
        options: What was asked for.
        source: The transitions.
        seen: The scales of the data.
        seed: Of everything random.
        processes: Who trains together.
        progress: Called with what is done and the share of it.
    """

    def __init__(
        self,
        options: NeuralSDE,
        source: Source,
        seen: Survey,
        *,
        seed: int,
        processes: Processes,
        progress: Progress | None,
    ) -> None:
        self.options, self.source, self.seen, self.seed = options, source, seen, seed
        self.processes, self.progress = processes, progress if processes.first else None
        self.folds = Folds(seen.n, options.held_out, seed)
        steps = options.training.steps
        self.length = max(-(-steps // _ROUNDS), min(steps, _SHORTEST))
        self.turned: list[Source] = [source] * options.ensemble
        self.at = Position()
        self.members: dict[str, list[Member]] = {role: [] for role in _ROLES}
        self.ridges: list[dict[str, Tensor]] = []
        self.optimizers: list[torch.optim.AdamW] = []
        self.checkpoint = Checkpoint(
            options.training.checkpoint,
            "neural-training",
            f"{options.key}, seed {seed}; {source.identity()}",
            writes=processes.first,
        )
        self._begun = self._kept = time.monotonic()
        self._whole = True

    # The course of a training

    def run(self) -> None:
        """Train until patience, steps or time are over."""
        self._restore()
        spent = self.at.seconds
        self._begun -= spent
        try:
            for k in range(self.at.ready, self.options.ensemble):
                self._start(k)
            while not self.at.finished:
                self._round()
                if self._late():  # what is kept is not finished: a call with more time goes on from it
                    break
        except KeyboardInterrupt:
            if self._whole:
                self._keep()
            raise
        self._keep()

    def _start(self, k: int) -> None:
        """The untrained member k, with its weights found from its share of the data."""
        self._tell(f"member {k + 1}: start", 0.02 * k / self.options.ensemble)
        view, sample = self.view(k), self.seen.sample.to(self.options.device)
        if k == 0:
            self.at.gain = self._best_gain(view)
        member = self._new(k, self.at.gain)
        found = find_heads(member, view)
        if k == 0:
            check = check_step(member, found, sample)
            self.at.bias, self.at.substeps = check.size, check.substeps
        reference = member
        if self.at.substeps:
            found, reference = settle(member, view, sample, self.at.substeps)
        self.turned[k] = self._turned(reference)
        view = replace(view, source=self.turned[k])
        level, n = self._level(k, member, view)
        trained = member
        if self.at.gain < _TRAINED_GAIN:
            trained = self._new(k, _TRAINED_GAIN)
            found = find_heads(trained, view)
        self._whole = False
        first = {"live": trained, "average": trained, "reference": reference}
        for role in _ROLES:
            self.members[role].append(copy.deepcopy(first.get(role, member)))
        self.ridges.append(_ridges(found))
        self.optimizers.append(self._optimizer(self.members["live"][k]))
        self.at.level = [a + b for a, b in zip(self.at.level, level, strict=True)]
        self.at.scores[0][2] += n
        self.at.ready, self._whole = k + 1, True
        self._keep_sometimes()

    def _best_gain(self, view: View) -> float:
        """The scale of the inputs under which the data are likeliest: how smooth the drift is, judged by evidence."""
        evidence = [float(find_drift(self._new(0, gain), view).evidence.sum()) for gain in _GAINS]
        return _GAINS[max(range(len(_GAINS)), key=evidence.__getitem__)]

    def _round(self) -> None:
        at = self.at
        for k in range(at.member, self.options.ensemble):
            self._adam(k)
            self._candidate(k)
        self._whole = False
        at.steps.append(at.round * self.length)
        at.history.append(sum(at.losses) / len(at.losses))
        gain, error = at.gained(at.round)
        if gain >= at.gained(at.top)[0]:
            at.top = at.round
        # The start is left only for what is better by more than a standard error.
        if gain > (at.gained(at.best)[0] if at.best else error):
            at.best = at.round
            for role in ("best", "reference"):
                self.members[role] = [copy.deepcopy(m) for m in self.members["candidate"]]
            self.turned = [self._turned(m) for m in self.members["reference"]]
        over = at.round - at.top >= self.options.patience or self._hopeless()
        at.finished = over or at.round * self.length >= self.options.training.steps
        at.round, at.member, at.losses, self._whole = at.round + 1, 0, [], True
        self._keep_sometimes()

    def _hopeless(self) -> bool:
        """Whether the networks would still be worse than the start if they went on as in the last rounds."""
        at, patience = self.at, self.options.patience
        if at.best or at.round <= patience:
            return False
        now, before = at.gained(at.round)[0], at.gained(at.round - patience)[0]
        left = self.options.training.steps / self.length - at.round
        return now + (now - before) / patience * left < 0

    def _adam(self, k: int) -> None:
        """The steps of a round."""
        live, average, optimizer = self.members["live"][k], self.members["average"][k], self.optimizers[k]
        batches = Batches(self.turned[k], self.options.training.batch, (self.seed, k))
        kept = 1.0 - min(1.0, 10.0 / self.length)
        at = self.at
        while at.step < self.length:
            number = (at.round - 1) * self.length + at.step
            rows = batches.at(number)
            rows = rows.at(~self.folds.held_out(k, rows.index))
            n = max(1, len(rows))
            rows = rows.at(slice(self.processes.rank, None, self.processes.count)).to(self.options.device)
            loss = -live.log_density(rows).sum() / n
            value = loss.detach().reshape(1).cpu().double()
            self.processes.sum([value])
            for group in optimizer.param_groups:
                group["lr"] = self._rate(number)
            optimizer.zero_grad()
            (loss + self._penalty(k, live) / self.processes.count).backward()
            self.processes.sum([p.grad for p in live.parameters() if p.grad is not None])
            if not bool(torch.isfinite(value)):
                raise NumericalError(
                    f"The training of member {k + 1} diverged at step {number + 1}. Give a smaller rate in training=, "
                    "or look for outliers in the data."
                )
            self._whole = False
            optimizer.step()
            with torch.no_grad():
                for slow, p in zip(average.parameters(), live.parameters(), strict=True):
                    slow.lerp_(p, 1.0 - kept)
            at.step, at.lost, self._whole = at.step + 1, at.lost + float(value), True
            self._keep_sometimes()
        done = (at.round - 1 + (k + 1) / self.options.ensemble) * self.length / self.options.training.steps
        self._tell(f"member {k + 1}: loss {at.lost / self.length:.5g}", 0.02 + 0.92 * min(1.0, done))

    def _candidate(self, k: int) -> None:
        """The averaged network with its weights found exactly, and what it gains on held-out data."""
        at = self.at
        candidate = copy.deepcopy(self.members["average"][k])
        found = find_heads(candidate, replace(self.view(k), source=self.turned[k]), sweeps=1)
        sums = self._compare(k, candidate, self.members["start"][k])
        self._whole = False
        self.members["candidate"][k] = candidate
        self.ridges[k] = _ridges(found)
        with torch.no_grad():
            for role in ("live", "average"):
                for name, p in self.members[role][k].heads().items():
                    p.copy_(candidate.heads()[name])
        if len(at.scores) == at.round:
            at.scores.append([0.0, 0.0, 0.0])
        at.scores[at.round] = [a + b for a, b in zip(at.scores[at.round], sums, strict=True)]
        at.losses.append(at.lost / self.length)
        at.member, at.step, at.lost, self._whole = k + 1, 0, 0.0, True
        self._keep_sometimes()

    def _turned(self, reference: Member) -> Source:
        """The transitions with the ends that Euler steps would have reached, as the moments of a member say."""
        if not self.at.substeps:
            return self.source
        return TurnedSource(self.source, reference, self.at.substeps, self.options.device)

    # What the course is made of

    def view(self, k: int | None) -> View:
        """What member k learns from; with None, all."""
        keep = None if k is None else (lambda index: ~self.folds.held_out(k, index))
        thin = 1 if k is None else self._thin()
        return View(self.source, self.processes, self.options.device, keep, thin)

    def _thin(self) -> int:
        probe = self.members["start"][0] if self.members["start"] else self._new(0, 1.0)
        return max(1, int(self.seen.n * probe.dim * probe.columns**2 / _PRODUCTS))

    def _new(self, k: int, gain: float) -> Member:
        o = self.options
        seed = int(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed((self.seed << 16) + k)))
        architecture = {
            "dim": len(self.source.names),
            "network": o.network,
            "hidden": list(o.hidden),
            "activation": o.activation,
            "noise": o.noise,
            "time": o.time,
            "linear": o.warm_start,
            "gain": gain,
            "seed": seed,
        }
        return Member(architecture, self.seen.units).to(o.device)

    def _optimizer(self, member: Member) -> torch.optim.AdamW:
        heads = list(member.heads().values())
        body = list(member.body.parameters())
        decay = self.options.weight_decay
        return torch.optim.AdamW(
            [{"params": body, "weight_decay": decay}, {"params": heads, "weight_decay": 0.0}],
            self.options.training.rate,
        )

    def _rate(self, number: int) -> float:
        """It grows over the first steps and falls like a cosine."""
        training = self.options.training
        fallen = 0.5 * (1.0 + math.cos(math.pi * min(1.0, number / training.steps)))
        return training.rate * min(1.0, (number + 1) / _WARM) * fallen

    def _penalty(self, k: int, member: Member) -> Tensor:
        """The ridges of the last regression, per transition."""
        alpha = self.ridges[k]
        drift = (alpha["drift"] * member.drift_head.square()).sum()
        return 0.5 * (drift + (alpha["noise"] * member.noise_head.square()).sum()) / self.seen.n

    def _compare(self, k: int, one: Member, other: Member) -> list[float]:
        """Sums over held-out transitions of log p_one - log p_other, its square, and their number."""
        sums = torch.zeros(3, dtype=torch.float64)
        for rows in self._held_out(k, one):
            gain = log_density(one, rows, self.at.substeps) - log_density(other, rows, self.at.substeps)
            sums += torch.stack([gain.sum(), gain.square().sum(), gain.new_tensor(float(len(rows)))]).cpu()
        self.processes.sum([sums])
        return sums.tolist()

    def _level(self, k: int, member: Member, view: View) -> tuple[list[float], float]:
        """Held-out log-density of the start, its gain over a linear drift and the square of that; and their number."""
        own = member.drift_head.detach().clone()
        find_drift(member, view, straight=True)
        linear = copy.deepcopy(member)
        with torch.no_grad():
            member.drift_head.copy_(own)
        gain, square, n = self._compare(k, member, linear)
        total = torch.zeros(1, dtype=torch.float64)
        for rows in self._held_out(k, member):
            total += log_density(member, rows, self.at.substeps).sum().cpu()
        self.processes.sum([total])
        return [float(total), gain, square], n

    def _held_out(self, k: int, member: Member) -> Iterator[Rows]:
        view = View(
            self.source, self.processes, self.options.device, lambda index: self.folds.held_out(k, index), self._thin()
        )
        return view.portions(member)

    # Time and files

    def _tell(self, what: str, share: float) -> None:
        if self.progress is not None:
            self.progress(what, share)

    def _late(self) -> bool:
        limit = self.options.training.seconds
        return self.processes.agree(limit is not None and time.monotonic() - self._begun > limit)

    def _keep_sometimes(self) -> None:
        if time.monotonic() - self._kept >= _EVERY:
            self._keep()

    def _keep(self) -> None:
        self._kept = time.monotonic()
        self.at.seconds = self._kept - self._begun
        tensors = {
            f"{role}.{k}.{name}": value
            for role in _ROLES
            for k, member in enumerate(self.members[role])
            for name, value in member.state_dict().items()
        }
        for k, (ridges, optimizer) in enumerate(zip(self.ridges, self.optimizers, strict=True)):
            tensors |= {f"ridge.{k}.{name}": value for name, value in ridges.items()}
            tensors |= {f"adam.{k}.{name}": value for name, value in _moments(optimizer).items()}
        self.checkpoint.write(asdict(self.at), tensors)

    def _restore(self) -> None:
        found = self.checkpoint.read()
        # Nobody writes while another may still have to read.
        self.processes.wait()
        if found is None:
            return
        about, tensors = found
        self.at = Position(**about)
        for k in range(self.at.ready):
            for role in _ROLES:
                member = self._new(k, self.at.gain)
                member.load_state_dict(_under(tensors, f"{role}.{k}."))
                self.members[role].append(member)
            self.ridges.append({n: v.to(self.options.device) for n, v in _under(tensors, f"ridge.{k}.").items()})
            self.optimizers.append(self._optimizer(self.members["live"][k]))
            _load_moments(self.optimizers[k], _under(tensors, f"adam.{k}."))
            self.turned[k] = self._turned(self.members["reference"][k])


def _ridges(found: Found) -> dict[str, Tensor]:
    return {"drift": found.drift.precision, "noise": found.noise.precision}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _moments(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{i}.{name}": torch.as_tensor(value)
        for i, p in enumerate(parameters)
        for name, value in optimizer.state.get(p, {}).items()
    }


def _load_moments(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in enumerate(parameters):
        own = _under(tensors, f"{i}.")
        if own:
            optimizer.state[p] = {name: value if name == "step" else value.to(p) for name, value in own.items()}


__all__ = ["Position", "Trainer"]

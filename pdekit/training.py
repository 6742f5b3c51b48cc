"""The loop that all trained densities share: batches, steps, checkpoints, and an end when it goes wrong."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdekit.checkpoint import Checkpoint
from pdekit.errors import InputError, NumericalError
from pdekit.ode.storage import complete
from pdekit.seeds import check_seed
from pdekit.threads import one_thread

_KIND = "training"
_CLIP = 10.0  # times the usual size of a gradient
_EVERY = 30.0  # seconds between two checkpoints
_RECORDS = 200
_WARM, _WARM_SHARE = 100, 0.05  # steps with a growing rate, or this share of a short training
_DIVERGED = 1e4
_SHARED = 10_000_000  # products in one operation, from which on it is worth several threads

Progress = Callable[[str, float], None]


@dataclass(frozen=True, repr=False)
class Training:
    """How a network is trained, by Adam with a rate that falls like a cosine.

    Args:
        steps: How many.
        batch: Rows in each.
        rate: The highest rate.
        checkpoint: A file that keeps the state of the training, every 30 seconds and when it is interrupted: the same
            call goes on where it stopped, and ends as if it had not. Another problem or method is refused.
        seconds: Stop after this time at the latest, with the rate brought down to zero by then.

    Raises:
        InputError: If one makes no sense.
    """

    steps: int = 6000
    batch: int = 2048
    rate: float = 3e-3
    checkpoint: str | Path | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")
        if self.checkpoint is not None and not isinstance(self.checkpoint, str | Path):
            raise InputError(f"checkpoint must be the path of a file, got {self.checkpoint!r}.")
        if self.checkpoint is not None and not Path(self.checkpoint).absolute().parent.is_dir():
            raise InputError(f"checkpoint={str(self.checkpoint)!r}: there is no such folder. Make it first.")
        for name in ("rate", "seconds"):
            value = getattr(self, name)
            if name == "seconds" and value is None:
                continue
            if not (isinstance(value, int | float) and 0 < value < np.inf):
                raise InputError(f"{name} must be a positive number, got {value!r}.")

    def __repr__(self) -> str:
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Training({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


@dataclass(frozen=True, eq=False)
class History:
    """What a training was like.

    Args:
        steps: At which steps the loss was recorded.
        losses: Its means since the record before.
        seconds: How long it took.
    """

    steps: np.ndarray
    losses: np.ndarray
    seconds: float

    def plain(self) -> dict[str, Any]:
        """What JSON can hold of it, which is all; see `of`."""
        return {"steps": self.steps.tolist(), "losses": self.losses.tolist(), "seconds": self.seconds}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "History":
        """The history that `plain` was made of."""
        return cls(np.array(plain["steps"]), np.array(plain["losses"]), plain["seconds"])


def train(
    net: nn.Module,
    loss: Callable[[torch.Generator, float], Tensor],
    options: Training,
    *,
    seed: int,
    what: str,
    progress: Progress | None = None,
    key: str = "",
) -> History:
    """Make the mean of a loss small.

    Args:
        net: Whose parameters.
        loss: A random value of the loss, given a generator that everything random in it comes from, and the share of
            the training that is done.
        options: How.
        seed: Of the batches.
        what: Is trained, for messages.
        progress: Called with what is done and the share of it, as work goes on.
        key: What the training depends on: a checkpoint of another one is refused.

    Returns:
        Losses and time, of the parts before an interruption too.

    Raises:
        NumericalError: If the loss is not finite, or grows beyond every bound.
        InputError: If the checkpoint belongs to another training, or the seed is none.
    """
    check_training(options, seed)
    optimizer = torch.optim.Adam(net.parameters(), options.rate)
    state = _State(
        net, optimizer, options.checkpoint, f"{what}; {key}; {options.steps}, {options.batch}, {options.rate}"
    )
    with _threads(net, options.batch):
        return _loop(net, loss, options, optimizer, state, seed=seed, what=what, progress=progress)


def check_training(options: Any, seed: Any) -> None:
    """Refuses what are no options of a training, such as the class itself, and what is no seed.

    Raises:
        InputError: If it is anything else.
    """
    check_seed(seed)
    if not isinstance(options, Training):
        raise InputError(f"training must be an object such as Training(steps=1000), got {options!r}.")


def _loop(
    net: nn.Module,
    loss: Callable[[torch.Generator, float], Tensor],
    options: Training,
    optimizer: torch.optim.Adam,
    state: "_State",
    *,
    seed: int,
    what: str,
    progress: Progress | None,
) -> History:
    device = next(net.parameters()).device
    done, spent, usual, records = state.restored()
    begun = kept = time.monotonic()
    whole, reached = True, done  # whether parameters belong to a finished step, and to which
    try:
        for step in range(done, options.steps):
            share = step / options.steps
            if options.seconds is not None:
                share = max(share, (spent + time.monotonic() - begun) / options.seconds)
            if share >= 1:
                break
            warm = min(1.0, max((step + 1) / _WARM, share / _WARM_SHARE))
            rate = options.rate * warm * 0.5 * (1 + np.cos(np.pi * share))
            optimizer.param_groups[0]["lr"] = rate
            # A generator for each step, so that a resumed training sees the batches that it would have seen.
            seeds = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)
            value = loss(torch.Generator(device).manual_seed(int(seeds[0] >> 2)), share)
            optimizer.zero_grad()
            value.backward()
            usual, whole = _clip(net, usual), False
            optimizer.step()
            whole, reached = True, step + 1
            records.since.append(value.detach())
            if records.due(share, options.steps) or step + 1 == options.steps:
                mean = records.close(step + 1, share, what)
                if progress is not None:
                    progress(f"{what}, loss {mean:.4g}", max(share, (step + 1) / options.steps))
            if time.monotonic() - kept > _EVERY:
                state.keep(step + 1, spent + time.monotonic() - begun, usual, records)
                kept = time.monotonic()
    except KeyboardInterrupt:
        if whole:
            state.keep(reached, spent + time.monotonic() - begun, usual, records)
        raise
    total = spent + time.monotonic() - begun
    state.keep(reached, total, usual, records)  # ended by `seconds`, it goes on where more of them are given
    if records.since:
        records.close(reached, 1.0, what)
    return History(np.array(records.steps), np.array(records.losses), total)


@dataclass
class _Records:
    """Means of the loss between records.

    Args:
        steps: Up to which step each is.
        losses: The means.
        share: How much was done at the last record.
        since: The losses since then.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    share: float = 0.0
    since: list[Tensor] = field(default_factory=list)

    def due(self, share: float, steps: int) -> bool:
        """Whether it is time for another, at this share of a training of so many steps at most."""
        return len(self.since) * _RECORDS >= steps or (share - self.share) * _RECORDS >= 1

    def close(self, step: int, share: float, what: str) -> float:
        """One more record; its mean.

        Raises:
            NumericalError: If it is not finite, or beyond every bound.
        """
        mean = float(torch.stack(self.since).mean())
        lowest = min(map(abs, [*self.losses, mean]))
        if not np.isfinite(mean) or (step > _WARM + 1 and mean > _DIVERGED * (lowest + 1)):
            raise NumericalError(
                f"The training of {what} diverged: its loss was {mean:.3g} after {step} steps. Give a smaller rate, or "
                "another method."
            )
        self.steps.append(step)
        self.losses.append(mean)
        self.share, self.since = share, []
        return mean


def _threads(net: nn.Module, batch: int) -> AbstractContextManager[None]:
    """One thread for small networks: several would wait for one another at every operation."""
    products = batch * max(p.numel() for p in net.parameters())
    return nullcontext() if products >= _SHARED else one_thread(0)


def _clip(net: nn.Module, usual: float | None) -> float:
    """Gradients of rare batches are cut to a few times the usual size, which is returned."""
    limit = float("inf") if usual is None else _CLIP * usual
    size = float(nn.utils.clip_grad_norm_(net.parameters(), limit))
    size = min(size, limit)
    return size if usual is None else 0.98 * usual + 0.02 * size


class _State:
    """Parameters and moments in a file."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Adam, path: Any, key: str) -> None:
        self.net, self.optimizer = net, optimizer
        self.checkpoint = Checkpoint(path, _KIND, key)

    def keep(self, step: int, seconds: float, usual: float | None, records: _Records) -> None:
        tensors = {f"net.{name}": p for name, p in self.net.state_dict().items()}
        for k, p in enumerate(self._parameters()):
            for name, value in self.optimizer.state.get(p, {}).items():
                tensors[f"adam.{k}.{name}"] = torch.as_tensor(value)
        kept = {"steps": records.steps, "losses": records.losses, "share": records.share}
        about = {"step": step, "seconds": seconds, "usual": usual, "records": kept}
        if records.since:
            tensors["since"] = torch.stack(records.since)
        self.checkpoint.write(about, tensors)

    def restored(self) -> tuple[int, float, float | None, _Records]:
        """The step to go on from, seconds that were spent, the usual size of a gradient, and the records of losses."""
        found = self.checkpoint.read()
        if found is None:
            return 0, 0.0, None, _Records()
        about, tensors = found
        with complete(self.checkpoint.path):
            self.net.load_state_dict({n[4:]: p for n, p in tensors.items() if n.startswith("net.")})
            for k, p in enumerate(self._parameters()):
                moments = {n.split(".")[2]: v for n, v in tensors.items() if n.startswith(f"adam.{k}.")}
                if moments:
                    self.optimizer.state[p] = {n: v if n == "step" else v.to(p) for n, v in moments.items()}
            since = tensors.get("since", torch.zeros(0)).to(next(self.net.parameters()).device)
            records = _Records(**about["records"], since=list(since))
            return int(about["step"]), float(about["seconds"]), about["usual"], records

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.optimizer.param_groups[0]["params"])


__all__ = ["History", "Progress", "Training", "check_training", "train"]

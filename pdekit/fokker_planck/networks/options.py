"""What all methods with networks can be told."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from pdekit.errors import InputError
from pdekit.fokker_planck.method import DensityMethod
from pdekit.seeds import check_seed
from pdekit.training import Progress, Training

_TRAINING = Training()
_POOR = 0.5  # relative error


@dataclass(frozen=True, repr=False)
class LearningMethod(DensityMethod):
    """Options of methods that learn from simulated paths.

    Args:
        paths: How many.
        snapshots: Times at which the network looks at them, besides those that are asked for.
        hidden: Units of the network's layers.
        components: The most components that the mixture of normal laws may have that the network corrects.
        training: How it is trained.
        seed: Of everything random.
        device: Where: "cpu" or "cuda".
        progress: Called with what is done and the share of it.

    Raises:
        InputError: If an option makes no sense.
    """

    paths: int = 100_000
    snapshots: int = 20
    hidden: tuple[int, ...] = (128, 128, 128)
    components: int = 12
    training: Training = _TRAINING
    seed: int = 0
    device: str = "cpu"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, least in (("paths", 1000), ("snapshots", 1), ("components", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        units = self.hidden
        if not (isinstance(units, tuple | list) and units and all(type(n) is int and n >= 1 for n in units)):
            raise InputError(f"hidden must be whole numbers of units such as (64, 64), got {units!r}.")
        object.__setattr__(self, "hidden", tuple(units))
        if self.progress is not None and not callable(self.progress):
            raise InputError(f"progress must be a function (what, share), got {self.progress!r}.")
        if not isinstance(self.training, Training):
            raise InputError(f"training must be Training(...), got {self.training!r}.")
        check_seed(self.seed)
        try:
            if not isinstance(self.device, str):
                raise TypeError
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError, TypeError) as cause:
            raise InputError(f'device must be one that torch has here, such as "cpu", got {self.device!r}.') from cause

    def _generator(self, k: int) -> torch.Generator:
        """The k-th of independent generators."""
        seeds = np.random.SeedSequence((self.seed, k)).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(seeds[0] >> 2))

    def _tell(self, share: float) -> None:
        if self.progress is not None:
            self.progress("simulating", share)

    @staticmethod
    def _warn(errors: Sequence[float | None]) -> None:
        """Say so if an error was measured and is large, or could not be measured."""
        worst = max((np.inf if e is None else e for e in errors), default=0.0)
        if worst > _POOR:
            told = f"is {worst:.2g}" if np.isfinite(worst) else "can't be told, which mostly means that it is large"
            warnings.warn(
                f"The relative error of this density {told}. Give more paths, snapshots, components or steps of "
                "training, or use another method, and look at the solution's notes.",
                stacklevel=5,
            )

    @property
    def _key(self) -> str:
        """What a checkpoint depends on."""
        left = ("training", "progress", "device")
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in left)

    def __repr__(self) -> str:
        changed = [f for f in fields(self) if f.name != "progress" and getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


__all__ = ["LearningMethod"]

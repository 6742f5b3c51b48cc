"""What a nonlinear solver remembers of each sample from one system to the next."""

from collections import Counter
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.nonlinear.equation import Equation, Inverse, indices

Kind = Literal["diagonal", "matrix"]
Iteration = Literal["diagonal", "matrix", "krylov"]
_OLDEST = 30  # steps for which a Jacobian is kept


class Memory:
    """Jacobians, contraction rates and rungs of n samples.

    A Jacobian is kept over steps as long as it does well; inverses and rates hold within one step.

    Attributes:
        rung: The rung of the ladder that solved the last system, (n,).
        successes: How many systems in a row it solved, (n,).
        tally: How many systems each rung's solver solved, over all samples.
        rates: For each kind of iteration the contraction rate measured in this step, NaN for none, (n,).
    """

    def __init__(self, samples: int) -> None:
        self.rung = np.zeros(samples, dtype=np.int64)
        self.successes = np.zeros(samples, dtype=np.int64)
        self.tally: Counter[str] = Counter()
        self.rates: dict[Iteration, np.ndarray] = {
            k: np.full(samples, np.nan) for k in ("diagonal", "matrix", "krylov")
        }
        self._age: dict[Kind, np.ndarray] = {k: np.full(samples, _OLDEST + 1) for k in ("diagonal", "matrix")}
        self._known: dict[Kind, Tensor] = {}
        self._inverse: dict[Kind, Inverse] = {}

    def begin_step(self) -> None:
        """Another step, another step size: what belongs to the old one goes."""
        self._inverse = {}
        for age in self._age.values():
            age += 1
        for rate in self.rates.values():
            rate[:] = np.nan

    def inverse(self, kind: Kind, equation: Equation, z: Tensor) -> Inverse:
        """M^-1 by what is known of J, which is evaluated at z where it is missing or too old."""
        if kind not in self._inverse:
            self._evaluate(kind, equation, z, self._age[kind] > _OLDEST)
            build = equation.inverse_by_diagonal if kind == "diagonal" else equation.inverse_by_matrix
            self._inverse[kind] = build(self._known[kind])
        return self._inverse[kind]

    def refresh(self, kind: Kind, equation: Equation, z: Tensor) -> Inverse:
        """The same, with J evaluated anew at z for all samples."""
        self._inverse.pop(kind, None)
        self._age[kind][:] = _OLDEST + 1
        return self.inverse(kind, equation, z)

    def is_new(self, kind: Kind) -> np.ndarray:
        """Whose J was evaluated in this step, (n,)."""
        return self._age[kind] == 0

    def knows(self, kind: Kind) -> bool:
        """Whether there is a J, of whatever age, for every sample."""
        return kind in self._known and bool((self._age[kind] <= _OLDEST).all())

    def is_confirmed(self, kind: Kind) -> bool:
        """Whether iterations with this J have converged in this step for every sample."""
        return bool((self.rates[kind] < 1).all())

    def expire(self, kind: Kind, which: np.ndarray) -> None:
        """J of these samples is evaluated anew in the next step."""
        self._age[kind] = np.where(which, np.maximum(self._age[kind], _OLDEST), self._age[kind])

    def _evaluate(self, kind: Kind, equation: Equation, z: Tensor, which: np.ndarray) -> None:
        if not which.any():
            return
        at = np.flatnonzero(which)
        some = equation if which.all() else equation.take(at)
        evaluate = some.diagonal if kind == "diagonal" else some.matrix
        found = evaluate(z[indices(at, z)] if len(at) < len(z) else z).detach()
        if len(at) < len(z):
            found = self._known[kind].index_copy(0, indices(at, z), found)
        self._known[kind] = found
        self._age[kind][at] = 0

    def take(self, keep: np.ndarray) -> Self:
        """The memory of some samples."""
        part = object.__new__(type(self))
        part.rung, part.successes = self.rung[keep], self.successes[keep]
        part.tally = self.tally  # shared
        part.rates = {k: r[keep] for k, r in self.rates.items()}
        part._age = {k: a[keep] for k, a in self._age.items()}
        part._known = {k: j[indices(keep, j)] for k, j in self._known.items()}
        part._inverse = {k: i.take(keep) for k, i in self._inverse.items()}
        return part

    def put(self, keep: np.ndarray, part: Self) -> None:
        """Take over what the samples `keep` have learnt; their inverses are built again."""
        if len(keep) == len(self.rung):
            self.__dict__.update(part.__dict__)
            return
        self.rung[keep], self.successes[keep] = part.rung, part.successes
        for iteration, rate in self.rates.items():
            rate[keep] = part.rates[iteration]
        for kind in self._age:
            self._age[kind][keep] = part._age[kind]
            if kind in part._known:
                new = part._known[kind]
                base = self._known.get(
                    kind, torch.zeros(len(self.rung), *new.shape[1:], dtype=new.dtype).to(new.device)
                )
                self._known[kind] = base.index_copy(0, indices(keep, new), new)
                self._inverse.pop(kind, None)


__all__ = ["Kind", "Memory"]

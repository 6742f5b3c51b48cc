"""A density carried along by the probability flow v = f - D s of a learned score s."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pdekit.errors import NumericalError
from pdekit.flows import CNF
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.law import Law
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.learned import LearnedScore
from pdekit.fokker_planck.networks.noise import AdditiveNoise
from pdekit.fokker_planck.networks.rates import greatest_rate
from pdekit.nets import HollowNet
from pdekit.ode import Fixed
from pdekit.operators import divergence

_SAME = 1e-9
_STEP, _FEWEST, _MOST = 0.5, 16, 5000  # of the flow: times its greatest rate
_DRAWN = 1000
_AWAY, _WIDER = 0.3, 1.4  # of means, in standard deviations, and of these: more is no density of the equation


class ProbabilityFlow:
    """v = f - D s, with D that does not depend on the state, and its divergence.

    Args:
        drift: f.
        noise: D.
        score: s.
    """

    def __init__(self, drift: Drift, noise: AdditiveNoise, score: LearnedScore) -> None:
        # In double precision: in single a state's velocity depends on how many others go through the network with it.
        net = deepcopy(score.net).double().cpu()
        self.drift, self.noise = drift, noise
        self.model = LearnedScore(net, score.times, score.mixture.to("cpu"), score.coordinates.to("cpu"))
        self.model.share = score.share
        self.hollow = isinstance(net, HollowNet)
        self._trace: Any = divergence(net, full_output=True) if self.hollow else None
        self._mixed: Any = divergence(self._spread)

    def __call__(self, t: Any, x: Tensor) -> Tensor:
        """v, (n, d)."""
        now = _one(t)
        return self.drift.value(now, x) - self.model.score(now, x) @ self.noise.tensor(now).to(x)

    def with_divergence(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """v, (n, d), and div v, (n,)."""
        now = _one(t)
        with torch.no_grad():
            f, total = self.drift.with_divergence(now, x)
            d = self.noise.tensor(now).to(x)
            s, spread = self._with_spread(now, x, d)
            return f - s @ d, total - spread

    def with_pull(self, t: float, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """v, (n, d), and grad (v . s + div v) with s held, (n, d)."""
        f, pull = self.drift.with_pull(t, x, s)
        d = self.noise.tensor(t).to(x)
        with torch.enable_grad():
            state = x.detach().requires_grad_()
            score, spread = self._with_spread(t, state, d)
            total = ((score @ d) * s).sum() + spread.sum()
            back = torch.autograd.grad(total, state)[0]
        return f - score.detach() @ d, pull - back

    def _with_spread(self, t: float, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """s, (n, d), and tr(D grad s), (n,)."""
        when, model = self.model.times.at(t), self.model
        mixture, (_, factor) = model.mixture.at(when), model.coordinates.at(when)
        inverse = torch.linalg.inv(factor)
        matrix = inverse @ d @ inverse.T
        level = matrix.diagonal().mean()
        z, scaled = model.coordinates.to_z(when, x), torch.as_tensor(when.scaled, dtype=x.dtype)
        # Between snapshots D may turn, where it depends on the time.
        if self.hollow and float((matrix - level * torch.eye(len(matrix)).to(d)).abs().max()) <= _SAME * level:
            found = self._trace(scaled, z)
            c, trace = found.output, level * found.value
        else:
            self._matrix = matrix
            c, trace = model.net(scaled, z), self._mixed(scaled, z)
        s = mixture.differentiable_score(x) + model.share * c @ inverse
        return s, mixture.spread(x, d) + model.share * trace

    def _spread(self, t: Any, z: Tensor) -> Tensor:
        """L^-1 D L^-T c(t, z), whose divergence by z is tr(D grad s)."""
        return self.model.net(t, z) @ self._matrix


def steps(flow: ProbabilityFlow, ends: tuple[float, float], states: tuple[Tensor, Tensor]) -> int:
    """How many steps the flow needs, from the states at both ends of the time.

    Raises:
        NumericalError: If they are too many.
    """
    rate = max(greatest_rate(lambda x, t=t: flow(t, x), some) for t, some in zip(ends, states, strict=True))
    count = int(np.ceil((ends[1] - ends[0]) * rate / _STEP)) + _FEWEST if np.isfinite(rate) else _MOST + 1
    if count > _MOST:
        raise NumericalError(
            f"The probability flow is too fast for {_MOST:,} steps, as it is after a narrow start: use "
            'Score(network="potential").'
        )
    return count


class Start(Distribution):
    """The law at the start as a torch distribution over vectors.

    Args:
        law: With a density.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch asks for it

    def __init__(self, law: Law) -> None:
        self.law = law
        super().__init__(event_shape=torch.Size((law.dim,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p_0."""
        found = self.law.log_density(value.detach().double().cpu().numpy())
        return torch.as_tensor(found).to(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """From the law, by torch's random state."""
        shape = torch.Size(sample_shape)
        seed = int(torch.randint(2**62, ()))
        return self.law.sample(shape.numel(), torch.Generator().manual_seed(seed)).reshape(*shape, -1)


@dataclass(frozen=True, eq=False)
class FlowDensity(Density):
    """log p(t, x) = log p_0(X_0) - integral of div v along the flow that leads to x: mass one by construction.

    Args:
        flow: v.
        law: At the start.
        t0: The start.
        time: When.
        paths: States of simulated paths: what integrals are taken from, (n, d).
        error: See `Density`.
    """

    flow: ProbabilityFlow
    law: Law
    t0: float
    time: float
    paths: np.ndarray
    error: float | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.paths.shape[1]

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    @cached_property
    def _start(self) -> Tensor:
        return self.law.sample(_DRAWN, torch.Generator().manual_seed(0))

    @cached_property
    def cnf(self) -> CNF:
        """The flow as a distribution."""
        span = self.time - self.t0
        control = Fixed(span / steps(self.flow, (self.t0, self.time), (self._start, torch.as_tensor(self.paths))))
        times = (self.t0, self.time)
        return CNF(self.flow, Start(self.law), self.flow.with_divergence, times=times, control=control)

    def checked(self) -> "FlowDensity":
        """Itself, if it carries the start to where the simulated paths are.

        Raises:
            NumericalError: If it does not.
        """
        found, paths = self.cnf.carried(self._start).numpy(), self.paths
        width = paths.std(0)
        away, wider = np.abs(found.mean(0) - paths.mean(0)) / width, found.std(0) / width
        good = (away < _AWAY) & (wider < _WIDER) & (wider > 1 / _WIDER)
        if not good.all():
            i = int(np.argmin(good))
            theirs, its = (f"{x[:, i].mean():.4g} +- {x[:, i].std():.4g}" for x in (paths, found))
            raise NumericalError(
                f"At t = {self.time:g} the learned flow is not where simulated paths are: state {i + 1} is "
                f"at {its}, on paths at {theirs}. Give more paths, snapshots and steps of training, or use "
                'Score(network="potential").'
            )
        return self

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`.

        Raises:
            NumericalError: If the way back fails: a drift that contracts strongly pushes outwards on it.
        """
        if not len(x):
            return np.zeros(0)
        try:
            return self.cnf.log_prob(torch.as_tensor(x)).numpy()
        except NumericalError as cause:
            raise NumericalError(
                "Followed back from some of these states, the flow grows beyond every bound: what the score lacks "
                'there is blown up where the drift contracts. Use Score(network="potential").'
            ) from cause

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """The learned score."""
        return self.flow.model.score(self.time, torch.as_tensor(x)).numpy()

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """States at the start, carried along."""
        start = self.law.sample(n, torch.Generator().manual_seed(int(rng.integers(2**62))))
        return self.cnf.carried(start).numpy()

    def quadrature(self) -> Quadrature:
        """The simulated paths, with equal weights."""
        return Quadrature(self.paths, np.full(len(self.paths), 1 / len(self.paths)))


def _one(t: Any) -> float:
    return float(t if not isinstance(t, Tensor) else t.reshape(-1)[0])


__all__ = ["FlowDensity", "ProbabilityFlow", "Start", "steps"]

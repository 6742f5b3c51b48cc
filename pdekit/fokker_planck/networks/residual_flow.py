"""A normalising flow trained until the Fokker-Planck residual of its density is small."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdekit.errors import UnsupportedError
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.networks.backward import Deviation
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.statement import Statement
from pdekit.operators import Dense, fokker_planck_residual
from pdekit.training import train

_TRANSFORMS = 3
_ROWS = 20_000
_DRAWS = 20_000  # what integrals are taken from


class ConditionalFlow(nn.Module):
    """log p(t, x) of a masked autoregressive flow that is told the time, so smooth that it can be differentiated twice.

    It works in coordinates of mean zero and covariance one.

    Args:
        dim: d.
        hidden: Units of each transformation's network.
        states: Where the law has its mass at all times together, (n, d).
        ends: (t0, t1).
    """

    center: Tensor
    inverse: Tensor

    def __init__(self, dim: int, hidden: tuple[int, ...], states: Tensor, ends: tuple[float, float]) -> None:
        super().__init__()
        try:
            from zuko.flows import MAF
        except ImportError as cause:
            raise UnsupportedError(
                'Residual(family="flow") needs the package zuko: pip install "pdekit[flows]".'
            ) from cause
        self.flow = MAF(dim, 1, transforms=_TRANSFORMS, hidden_features=hidden, activation=nn.SiLU)
        factor = torch.linalg.cholesky(torch.cov(states.T).reshape(dim, dim))
        self.register_buffer("center", states.mean(0).float())
        self.register_buffer("inverse", torch.linalg.inv(factor).float())
        self.ends = ends

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """log p, (n,)."""
        z = (x - self.center) @ self.inverse.T
        return self._law(t, x).log_prob(z) + self.inverse.diagonal().log().sum()

    def draw(self, n: int, t: float) -> Tensor:
        """Samples (n, d) by torch's random state."""
        like = self.center.expand(n, -1)
        z = self._law(t, like).sample()
        return z @ torch.linalg.inv(self.inverse).T + self.center

    def _law(self, t: Any, like: Tensor) -> Any:
        begin, end = self.ends
        scaled = (torch.as_tensor(t).to(like) - begin) / (end - begin)
        return self.flow(scaled.reshape(-1, 1).expand(*like.shape[:-1], 1))


@dataclass(frozen=True, eq=False)
class ConditionalFlowDensity(Density):
    """The density of a conditional flow at one time: of mass one by construction.

    Args:
        net: In float64.
        time: When.
        dim: d.
        deviation: How far log p is from the truth, as measured; None if it was not.
    """

    net: ConditionalFlow
    time: float
    dim: int
    deviation: Deviation | None = None

    @property
    def error(self) -> float | None:  # type: ignore[override]
        """The relative L2 error as measured; see `Density`."""
        return None if self.deviation is None or not self.deviation.trusted else self.deviation.relative_l2

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        with torch.no_grad():
            parts = [self.net(self.time, part) for part in torch.as_tensor(x).to(self.net.center).split(_ROWS)]
        return torch.cat(parts).cpu().numpy()

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        state = torch.as_tensor(x).to(self.net.center).requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.net(self.time, state).sum(), state)[0].cpu().numpy()

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """See `Density`."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # distributions take no generator
            torch.manual_seed(int(rng.integers(2**62)))
            return self.net.draw(n, self.time).cpu().numpy()

    def quadrature(self) -> Quadrature:
        """20,000 draws, always the same ones."""
        x = self.draw(_DRAWS, np.random.default_rng(0))
        return Quadrature(x, np.full(_DRAWS, 1 / _DRAWS))

    def log_density(self, near: float) -> Callable[[Any, Tensor], Tensor]:
        """log p as a function of times and states."""
        return self.net

    def log_at(self, x: Tensor) -> Tensor:
        """log p at a tensor of states."""
        return torch.as_tensor(self.log_values(x.cpu().numpy())).to(x)

    def measured(self, deviation: Deviation | None) -> "ConditionalFlowDensity":
        """The same, with what was measured."""
        return replace(self, deviation=deviation)


def trained_flow(
    method: LearningMethod, problem: Statement, times: np.ndarray, states: list[np.ndarray]
) -> ConditionalFlow:
    """A flow whose residual is small where simulated paths are, and whose law at the start is the given one.

    The loss is E[(T r)^2] + E[(log q(t0, X_0) - log p_0(X_0))^2], with the time T from start to end as the unit.

    Args:
        method: With its options.
        problem: Whose law has a density.
        times: When, (k,), of which the first is the start.
        states: Of paths at these times, (n, d) each.

    Raises:
        NumericalError: If the training diverges.
    """
    x = torch.as_tensor(np.stack(states)).float().to(method.device)
    span = float(times[-1] - times[0])
    when = torch.as_tensor(times).float().to(x.device)
    start = torch.as_tensor(problem.law.log_density(states[0])).float().to(x.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(method.seed)
        net = ConditionalFlow(problem.sde.dim, method.hidden, x.flatten(0, 1), (times[0], times[-1])).to(x.device)
    residual = fokker_planck_residual(net, problem.sde, Dense())

    def loss(generator: torch.Generator, share: float) -> Tensor:
        pick = lambda n: torch.randint(n, (method.training.batch,), generator=generator, device=x.device)  # noqa: E731
        k, row, first = pick(len(when)), pick(x.shape[1]), pick(x.shape[1])
        inside: Any = residual(when[k][:, None], x[k, row])
        return (span * inside).square().mean() + (net(when[0], x[0, first]) - start[first]).square().mean()

    key = f"residual; {method._key}"
    train(net, loss, method.training, seed=method.seed, what="the residual", progress=method.progress, key=key)
    return deepcopy(net).double().cpu()


__all__ = ["ConditionalFlow", "ConditionalFlowDensity", "trained_flow"]

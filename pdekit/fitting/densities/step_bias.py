"""How far a normal transition density would move the estimate at the step of the data, in standard errors.

From observed states the process is run finely over one step. If that is the truth, the score s of the density has mean
b = E[s(fine)], and the estimate is off by C N b, with C the covariance of the estimate and N the number of steps. As
E[s] = 0 under the density's own law, b = E[s(fine) - s(own)], and the noise of a simulation cancels where the draw
from the density's law takes the Brownian increment of the fine path. What Euler's fine steps are off themselves is
extrapolated away.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import NumericalError
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.fitting.diagnosis.resimulate import Stepper
from pdekit.symbolic import SymbolicSDE

_STATES = 500
_REPLICATES = 8
_SUBSTEPS = 16
_MOST_LOST = 0.01
# Directions whose share in the information is smaller are left out: the data don't tell them, whatever the density.
_IDENTIFIED = 1e-9


@dataclass(frozen=True)
class StepBias:
    """What a density does to the estimate.

    Attributes:
        size: The bias of the parameter that suffers most, in standard errors.
        noise: Its Monte Carlo error.
        parameter: Its name.
    """

    size: float
    noise: float
    parameter: str


class FineSteps:
    """Ends of steps from observed states, simulated finely at given parameters, in antithetic pairs.

    Args:
        model: The SDE.
        pairs: The observations, of which some are used.
        theta: Parameters, (k,).
        seed: Of the simulation.
        free: Which parameters are estimated, (k,) bool; by default all.

    Attributes:
        pairs: The steps that were simulated, (n,), each observed state once for each replicate.
        fine: Their ends by 16 Euler substeps, (n, d).
        middle: By 8, with the same noise.
        increment: The Brownian increment of each, (n, m).

    Raises:
        NumericalError: If the simulation runs off.
    """

    def __init__(
        self, model: SymbolicSDE, pairs: Pairs, theta: Tensor, seed: int = 0, free: Tensor | None = None
    ) -> None:
        self.model, self.theta, self.total = model, theta.detach(), len(pairs)
        self.free = torch.ones(len(theta), dtype=torch.bool) if free is None else free
        some = torch.linspace(0, len(pairs) - 1, min(len(pairs), _STATES)).long().repeat_interleave(_REPLICATES)
        self.pairs = select_pairs(pairs, some)
        generator = torch.Generator().manual_seed(seed)
        half = torch.randn(_SUBSTEPS, len(some) // 2, model.noise_dim, generator=generator, dtype=torch.float64)
        noise = torch.stack([half, -half], 2).flatten(1, 2)
        with torch.no_grad():
            noise = noise * torch.sqrt(self.pairs.dt / _SUBSTEPS)[:, None]
            self.increment = noise.sum(0)
            self.fine = self._run(noise)
            self.middle = self._run(noise[0::2] + noise[1::2])
        ends = torch.cat([self.fine, self.middle], -1)
        finite = torch.isfinite(ends).all(-1).view(-1, _REPLICATES).all(-1)
        if float((~finite).double().mean()) > _MOST_LOST:
            raise NumericalError("Simulated steps run off to infinity.")
        self._kept = finite.repeat_interleave(_REPLICATES)

    def _run(self, noise: Tensor) -> Tensor:
        stepper = Stepper(self.model, self.theta)
        t, x = self.pairs.t[:, None], self.pairs.x0
        h = self.pairs.dt[:, None] / len(noise)
        for i, dw in enumerate(noise):
            x = stepper.step(t + i * h, x, h, dw)
        return x

    def bias(self, density: GaussianTransition) -> StepBias:
        """The bias that this density, built on `pairs`, leaves.

        Raises:
            NumericalError: If it has no value at these parameters.
        """
        own = self._own(density)
        scores = [self._scores(density, x) for x in (self.fine, self.middle, own)]
        kept = self._kept & torch.isfinite(torch.cat(scores, -1)).all(-1)
        if float((~kept).double().mean()) > _MOST_LOST:
            raise NumericalError("The density is not positive at the steps of the data.")
        fine, middle, own_scores = (torch.where(kept[:, None], s, 0.0) for s in scores)
        information = own_scores.T @ own_scores / int(kept.sum())
        difference = (2.0 * fine - middle - own_scores).view(-1, _REPLICATES, int(self.free.sum())).mean(1)
        covariance = _inverse(information)
        errors = covariance.diagonal().clamp_min(1e-300).sqrt()
        moves = difference @ covariance / errors * self.total**0.5
        mean, noise = moves.mean(0), moves.std(0) / len(moves) ** 0.5
        worst = int(mean.abs().argmax())
        name = self.model.param_names[int(self.free.nonzero()[worst])]
        return StepBias(float(mean[worst].abs()), float(noise[worst]), name)

    def _own(self, density: GaussianTransition) -> Tensor:
        """Draws from the density's own law with the Brownian increments of the fine paths."""
        model = self.model.ito()
        with torch.no_grad():
            mean, covariance = density.moments(self.theta)
            g = model.function(model.diffusion_matrix)(self.pairs.t[:, None], self.pairs.x0, self.theta)
            root, _ = torch.linalg.cholesky_ex(g @ g.mT)
            white = torch.linalg.solve_triangular(root, g @ self.increment[..., None], upper=False)
            factor, info = torch.linalg.cholesky_ex(covariance)
            spread = (factor @ white)[..., 0] / torch.sqrt(self.pairs.dt)[:, None]
            return torch.where((info == 0)[:, None], self.pairs.x0 + mean + spread, torch.nan)

    def _scores(self, density: GaussianTransition, x1: Tensor) -> Tensor:
        """d log p / d theta of every step, in the free parameters, (n, k_free)."""
        theta = self.theta.expand(len(x1), -1).clone().requires_grad_()
        total = density.log_density_at(theta, x1).clamp_min(-1e300).sum()
        return torch.autograd.grad(total, theta)[0][:, self.free]


def _inverse(information: Tensor) -> Tensor:
    """The inverse on the directions that the data identify."""
    scale = information.diagonal().clamp_min(1e-300).sqrt()
    values, vectors = torch.linalg.eigh(information / scale / scale[:, None])
    inverse = torch.where(values > _IDENTIFIED * values.max(), 1.0 / values, 0.0)
    return (vectors * inverse) @ vectors.T / scale / scale[:, None]

"""What a learned density is off by, after Feynman and Kac: residuals summed along paths that run backwards.

Let l be any log-density, normalised or not, r = d_t l - (L* e^l) / e^l its residual, and Y the diffusion that runs from
a state x at t back to t0 with the drift -f + 2 div D + 2 D grad l and the same noise. Then the true density is

    p(t, x) = e^l(t, x) E[exp(-integral r dt) p_0(Y) / e^l(t0, Y)].

The weights are all one where l is right, and with the constant that l may lack where l is right up to one. So their
mean tells how far l is from the truth, at any state, with a standard error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.fokker_planck.statement import Statement
from pdekit.operators import fokker_planck_residual
from pdekit.operators.call import make_call
from pdekit.operators.coefficients import coefficients

_REPEATS = 16
_STEP, _FEWEST = 0.3, 16  # of the paths: times the greatest rate of the drift
_FAR = 20.0  # standard deviations
_SCATTER = 4.0  # relative variance: weights that scatter more say nothing

_MOST = 3.0  # nats: what is further off counts as this, so that one path can't decide

LogDensity = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Deviation:
    """How far log p is from the truth, measured at states drawn from the law.

    Args:
        rms: The root mean square of log p - log p_true, nats.
        stderr: Its standard error.
        mean: The mean of log p - log p_true, nats.
        scatter: The relative variance of the weights.
    """

    rms: float
    stderr: float
    mean: float
    scatter: float

    @property
    def relative_l2(self) -> float:
        """||p - p_true|| / ||p_true||, if log p is as far off where p is high as elsewhere; with twice its error."""
        return float(np.expm1(self.rms + 2 * self.stderr))

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.rms:.2g} +- {self.stderr:.1g} nats" if self.trusted else "an unknown amount"

    @property
    def trusted(self) -> bool:
        """Whether the weights say something."""
        return bool(np.isfinite(self.rms)) and self.scatter < _SCATTER


def step_times(begin: float, end: float, rate: float) -> np.ndarray:
    """Times of steps that are short for a drift of this rate."""
    return np.linspace(begin, end, int(np.ceil((end - begin) * rate / _STEP)) + _FEWEST + 1)


def initial_density(problem: Statement) -> Callable[[Tensor], Tensor]:
    """log p at the start, (n, d) -> (n,), of a law that has one."""
    return lambda x: torch.as_tensor(problem.law.log_density(x.cpu().numpy())).to(x)


def deviation(
    problem: Statement,
    log_p: Callable[[float], LogDensity],
    start: Callable[[Tensor], Tensor],
    times: np.ndarray,
    x: Tensor,
    claimed: Tensor,
    generator: torch.Generator,
) -> Deviation:
    """Compare a log-density at states (n, d), drawn from the law at the last time, with weighted paths to the first.

    Args:
        problem: Whose equation.
        log_p: l near a time, normalised or not, float64.
        start: log p at the first time, (n, d) -> (n,).
        times: Of the steps, increasing.
        x: States.
        claimed: The log-density that is compared, (n,).
        generator: Of the noise.
    """
    y = x.repeat_interleave(_REPEATS, 0)
    center, far = x.mean(0), _FAR * x.std(0)
    total = log_p(times[-1])(torch.tensor(times[-1]).to(y), y).detach()
    for begin, end in zip(times[-2::-1], times[:0:-1], strict=True):
        middle, h = 0.5 * (begin + end), end - begin
        l = log_p(middle)
        y, residual = _stepped(problem, l, middle, h, y, generator)
        lost = ~((y - center).abs() <= far).all(-1)  # where no path of the equation comes from
        y, total = torch.where(lost[:, None], center, y), torch.where(lost, -torch.inf, total - h * residual)
    total = total + start(y) - log_p(times[0])(torch.tensor(times[0]).to(y), y).detach()
    return _compared(total.reshape(len(x), _REPEATS), claimed)


def _stepped(
    problem: Statement, l: LogDensity, t: float, h: float, y: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A step of Y by Euler and Maruyama, and the mean residual of its ends."""
    time = torch.tensor(t).to(y)
    operator = fokker_planck_residual(l, problem.sde)
    before = operator(time, y).detach()
    with torch.enable_grad():
        state = y.detach().requires_grad_()
        s = torch.autograd.grad(l(time, state).sum(), state)[0]
    with torch.no_grad():
        c = coefficients(problem.sde, make_call("FokkerPlanckProblem", problem.sde.drift, (t, y), {}), divergences=1)
        z = torch.randn(len(y), problem.sde.noise_dim or 1, generator=generator, dtype=y.dtype, device=y.device)
        g = c.noise
        if c.diagonal:
            pull, moved = g.square() * s, g * z
        else:
            pull, moved = (g @ (g.mT @ s[..., None]))[..., 0], (g @ z[..., None])[..., 0]
        drift = -c.drift + 2 * c.tensor_divergence + pull
        reached = y + h * drift + h**0.5 * moved
    return reached, before


def _compared(weight: Tensor, claimed: Tensor) -> Deviation:
    """Both halves of the paths give a value: the product of their deviations has no bias from their scatter."""
    half = _REPEATS // 2
    a, b = ((claimed - _log_mean(part)).clamp(-_MOST, _MOST) for part in (weight[:, :half], weight[:, half:]))
    square = a * b
    rms = max(float(square.mean()), 0.0) ** 0.5
    stderr = float(square.std()) / len(square) ** 0.5 / (2 * max(rms, 1e-3))
    share = (weight - weight.amax(1, keepdim=True)).exp()
    scatter = float((share.var(1) / share.mean(1).square()).mean())
    return Deviation(rms, stderr, float((0.5 * (a + b)).mean()), scatter)


def _log_mean(weight: Tensor) -> Tensor:
    """The log of a mean, less its bias to first order."""
    n = weight.shape[1]
    share = (weight - weight.amax(1, keepdim=True)).exp()
    return weight.logsumexp(1) - np.log(n) + 0.5 * (share.var(1) / share.mean(1).square()) / n


__all__ = ["Deviation", "LogDensity", "deviation", "initial_density", "step_times"]

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

from pdekit.fokker_planck.networks.rates import greatest_rate, spread_out
from pdekit.fokker_planck.statement import Statement
from pdekit.operators import fokker_planck_residual
from pdekit.operators.call import make_call
from pdekit.operators.coefficients import coefficients

_REPEATS = 32
_STEP, _FEWEST = 0.25, 16  # of the paths: times the greatest rate of the drift
_PROBED, _LEAST, _WORK = 120, 40, 40_000  # states at which densities are compared; states times steps
_FAR = 20.0  # standard deviations
_SCATTER = 4.0  # relative variance: weights that scatter more say nothing
_VAGUE = 0.5  # nats: an error that is known no better is not known
_NOTHING = -1e300  # the log of no weight at all
_MOST = 3.0  # nats: what is further off counts as this, so that one path can't decide
_CUT = 0.05  # the share of such states that is too large to say anything

LogDensity = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Deviation:
    """How far log p is from the truth, measured at states drawn from the law.

    Args:
        rms: The root mean square of log p - log p_true, nats.
        stderr: How much larger it is if the mean square is larger by its standard error.
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
        return bool(np.isfinite(self.rms)) and self.scatter < _SCATTER and self.stderr < _VAGUE


def initial_density(problem: Statement) -> Callable[[Tensor], Tensor]:
    """log p at the start, (n, d) -> (n,), of a law that has one."""
    return lambda x: torch.as_tensor(problem.law.log_density(x.cpu().numpy())).to(x)


def measured(
    problem: Statement,
    log_p: Callable[[float], LogDensity],
    start: Callable[[Tensor], Tensor],
    ends: tuple[float, float],
    states: tuple[Tensor, Tensor],
    knots: np.ndarray,
    generator: torch.Generator,
) -> Deviation:
    """As `deviation`, with steps that are short enough for the backward drift.

    Args:
        problem: Whose equation.
        log_p: l near a time, float64; at the last time the log-density that is compared.
        start: log p at the first time, (n, d) -> (n,).
        ends: The first and the last time.
        states: Where the law has its mass at these times, (n, d) each; some of the last are compared.
        knots: Times at which l has kinks: no step may go past one.
        generator: Of the noise.
    """
    begin, end = ends
    rate = max(
        greatest_rate(lambda y, t=t: _backward(problem, log_p(t), t, y), x) for t, x in zip(ends, states, strict=True)
    )
    if not np.isfinite(rate):
        return Deviation(np.nan, np.nan, np.nan, np.inf)
    times = np.linspace(begin, end, int(np.ceil((end - begin) * rate / _STEP)) + _FEWEST + 1)
    times = np.union1d(times, knots[(knots > begin) & (knots < end)])
    x = spread_out(states[1], int(np.clip(_WORK // len(times), _LEAST, _PROBED)))
    claimed = log_p(end)(torch.tensor(end).to(x), x).detach()
    width = _FAR * torch.stack([x.std(0) for x in states]).amax(0)
    box = (torch.cat(states).amin(0) - width, torch.cat(states).amax(0) + width)
    return deviation(problem, log_p, start, times, x, claimed, generator, box)


def deviation(
    problem: Statement,
    log_p: Callable[[float], LogDensity],
    start: Callable[[Tensor], Tensor],
    times: np.ndarray,
    x: Tensor,
    claimed: Tensor,
    generator: torch.Generator,
    box: tuple[Tensor, Tensor] | None = None,
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
        box: Lower and upper ends, (d,) each, of where paths of the equation may be; by default by the states.
    """
    y = x.repeat_interleave(_REPEATS, 0)
    center, width = x.mean(0), _FAR * x.std(0)
    low, high = box if box is not None else (x.amin(0) - width, x.amax(0) + width)
    total = log_p(times[-1])(torch.tensor(times[-1]).to(y), y).detach()
    for begin, end in zip(times[-2::-1], times[:0:-1], strict=True):
        l = log_p(0.5 * (begin + end))
        y, residual = _stepped(problem, l, begin, end, y, generator)
        lost = ~((y >= low) & (y <= high)).all(-1)  # where no path of the equation comes from
        y, total = (
            torch.where(lost[:, None], center, y),
            torch.where(lost, -torch.inf, total - (end - begin) * residual),
        )
    total = total + start(y) - log_p(times[0])(torch.tensor(times[0]).to(y), y).detach()
    return _compared(total.reshape(len(x), _REPEATS), claimed)


def _stepped(
    problem: Statement, l: LogDensity, begin: float, end: float, y: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A step of Y from end to begin by Heun's method, and the residual half way, on a bridge between its ends.

    Where the noise does not depend on the state both are of weak order two, otherwise of order one.
    """
    h = end - begin
    noise = _coefficients(problem, 0.5 * (begin + end), y)[1]
    moved = h**0.5 * _noisy(noise, y, generator)
    drift = _backward(problem, l, end, y)
    ahead = _backward(problem, l, begin, y + h * drift + moved)
    reached = y + 0.5 * h * (drift + ahead) + moved
    half = 0.5 * (y + reached) + 0.5 * h**0.5 * _noisy(noise, y, generator)
    operator = fokker_planck_residual(l, problem.sde)
    return reached, operator(torch.tensor(0.5 * (begin + end)).to(y), half).detach()


def _backward(problem: Statement, l: LogDensity, t: float, y: Tensor) -> Tensor:
    """-f + 2 div D + 2 D grad l, (n, d)."""
    with torch.enable_grad():
        state = y.detach().requires_grad_()
        s = torch.autograd.grad(l(torch.tensor(t).to(y), state).sum(), state)[0]
    drift, g = _coefficients(problem, t, y)
    return drift + (g @ (g.mT @ s[..., None]))[..., 0]


def _coefficients(problem: Statement, t: float, y: Tensor) -> tuple[Tensor, Tensor]:
    """-f + 2 div D, (n, d), and G, (n, d, m)."""
    with torch.no_grad():
        c = coefficients(problem.sde, make_call("FokkerPlanckProblem", problem.sde.drift, (t, y), {}), divergences=1)
        return 2 * c.tensor_divergence - c.drift, torch.diag_embed(c.noise) if c.diagonal else c.noise


def _noisy(g: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    z = torch.randn(len(y), g.shape[-1], 1, generator=generator, dtype=y.dtype, device=y.device)
    return (g @ z)[..., 0]


def _compared(weight: Tensor, claimed: Tensor) -> Deviation:
    """Both halves of the paths give a value: the product of their deviations has no bias from their scatter."""
    half = _REPEATS // 2
    a, b = ((claimed - _log_mean(part)).clamp(-_MOST, _MOST) for part in (weight[:, :half], weight[:, half:]))
    square = a * b
    if float(((a.abs() == _MOST) | (b.abs() == _MOST)).double().mean()) > _CUT:
        return Deviation(np.nan, np.nan, np.nan, np.inf)
    mean, error = max(float(square.mean()), 0.0), float(square.std()) / len(square) ** 0.5
    rms = mean**0.5
    return Deviation(rms, (mean + error) ** 0.5 - rms, float((0.5 * (a + b)).mean()), float(_scatter(weight).mean()))


def _log_mean(weight: Tensor) -> Tensor:
    """The log of a mean, less its bias to first order."""
    n = weight.shape[1]
    return weight.logsumexp(1).clamp_min(_NOTHING) - np.log(n) + 0.5 * _scatter(weight) / n


def _scatter(weight: Tensor) -> Tensor:
    """The relative variance of weights whose logs are given; 0 where all of them are nothing."""
    share = (weight - weight.amax(1, keepdim=True).clamp_min(_NOTHING)).exp()
    return share.var(1) / share.mean(1).square().clamp_min(1 / -_NOTHING)


__all__ = ["Deviation", "LogDensity", "deviation", "initial_density", "measured"]

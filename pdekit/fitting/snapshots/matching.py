"""`match`: drift and noise as hollow networks whose Fokker-Planck residual under a fitted density vanishes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import DataError, InputError, NumericalError
from pdekit.fitting.learned import box_of
from pdekit.fitting.snapshots.equilibrium import equal_laws
from pdekit.fitting.snapshots.matched import MatchedSDE, frozen
from pdekit.fitting.snapshots.moving import MovingDensity, fitted_density
from pdekit.fitting.snapshots.options import SnapshotMatching
from pdekit.nets import HollowNet, MaskedConditioner, MLPTransformer
from pdekit.operators import dimwise_jet
from pdekit.report import Flag

_SETTLED = 1e-5
_POINTS = 40_000
_DRAWN = 0.5  # share of the points that come from the density between snapshots
_ROWS = 5_000
_LOUD = 30.0  # times the residual's median size: what a point in the far tail may weigh at most


@dataclass(frozen=True, eq=False)
class Match:
    """A matched SDE.

    Attributes:
        model: The SDE.
        density: p(t, x), in the units of the data.
        residual: The root mean square of what is left of the residual, over that of d_t log p.
        details: Names and values for a table on the method.
        flags: What is doubtful.
    """

    model: MatchedSDE
    density: MovingDensity
    residual: float
    details: tuple[tuple[str, str], ...]
    flags: tuple[Flag, ...]


def match(
    options: SnapshotMatching,
    data: Snapshots,
    *,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Match:
    """Learns drift and noise from snapshots; see `SnapshotMatching`.

    Args:
        options: How.
        data: The snapshots.
        seed: Of everything random.
        progress: Called with (what is being done, a log-likelihood or minus a loss).

    Raises:
        InputError: If `diffusion` does not have one number for each state.
        DataError: If the law does not move and the noise is not given.
        NumericalError: If the training diverges.
    """
    tell = progress or (lambda what, value: None)
    known = _known(options, data)
    settled = equal_laws(data, seed)
    if settled >= _SETTLED and known is None:
        raise DataError(
            f"The {len(data.times)} snapshots are hardly told from samples of one law (p = {settled:.2g}): a law that "
            "does not move fixes drift and noise only up to a common factor. Give SnapshotMatching(diffusion=...)."
        )
    density = fitted_density(data, options.components, seed, tell)
    center, scale, span = density.family.center, density.family.scale, data.duration
    points = _points(density, data, seed)
    training = _Training(options, data.dim, None if known is None else known / scale * span**0.5, seed)
    residual = training.run(points, tell)
    states, _ = data.pooled()
    model = MatchedSDE(
        data.names or (),
        ((-np.inf, np.inf),) * data.dim,
        box_of(states),
        drift_net=frozen(training.drift),
        noise_net=None if training.noise is None else frozen(training.noise),
        log_noise=training.log_noise.detach(),
        center=center,
        scale=scale,
        span=span,
        name="matched SDE",
        description="Drift and diagonal noise matched to the laws of snapshots by the Fokker-Planck residual.",
    )
    count = density.family.components
    details = (
        ("Density", "a normal law that moves" if count == 1 else f"mixture of {count} normal laws that move"),
        ("Residual left", f"{residual:.2g} of the rate of change of log p"),
        ("Among drifts with these laws", f"one with a small mean square (weight {options.smallness:g})"),
        ("Noise", "given" if known is not None else f"estimated, {options.noise}"),
    )
    return Match(model, density, residual, details, _flags(known is not None, settled, data.dim, residual))


def _known(options: SnapshotMatching, data: Snapshots) -> Tensor | None:
    if options.diffusion is None:
        return None
    values = tuple(options.diffusion)  # type: ignore[arg-type]
    if len(values) not in (1, data.dim):
        raise InputError(f"diffusion must be one number or one for each of {data.dim} states, got {len(values)}.")
    return torch.tensor(values, dtype=torch.float64).expand(data.dim).clone()


@dataclass(frozen=True, eq=False)
class Points:
    """States in units of their spread, and derivatives of log p there, times in units of the span.

    Args:
        z: States, (n, d).
        rate: d_t log p, (n,).
        score: grad log p, (n, d).
        curvature: d_i^2 log p, (n, d).
    """

    z: Tensor
    rate: Tensor
    score: Tensor
    curvature: Tensor


def residual_of(points: Points, drift: HollowNet, noise: HollowNet | None, log_noise: Tensor) -> tuple[Tensor, Tensor]:
    """d_t log p - (L* p) / p, (n,), and f, (n, d); derivatives of the networks from one pass each, exact."""
    s, h = points.score, points.curvature
    f, slope = dimwise_jet(drift, order=1)(points.z)
    if noise is None:
        g = log_noise.exp().expand_as(s)
        spread = 0.5 * g * g * (h + s * s)
    else:
        q, first, second = dimwise_jet(noise, order=2)(points.z)
        square = torch.exp(2.0 * (log_noise + q))  # g^2, whose derivatives are 2 q' g^2 and (2 q'' + 4 q'^2) g^2
        spread = 0.5 * square * (2.0 * second + 4.0 * first * first + 4.0 * first * s + h + s * s)
    return points.rate - (spread - slope - f * s).sum(-1), f


def _points(density: MovingDensity, data: Snapshots, seed: int) -> Points:
    """Samples at their times, and draws of the density between: everything where p has its mass."""
    generator = torch.Generator().manual_seed(seed)
    states, which = data.pooled()
    total = min(_POINTS, 2 * len(states))
    some = torch.randperm(len(states), generator=generator)[: int(total * (1 - _DRAWN))]
    between = data.times[0] + data.duration * torch.rand(int(total * _DRAWN), generator=generator, dtype=torch.float64)
    t = torch.cat([data.times[which[some]], between])
    x = torch.cat([states[some], density.sample(between, generator)])
    parts = [derivatives(density, a, b, data.duration) for a, b in zip(t.split(_ROWS), x.split(_ROWS), strict=True)]
    return Points(*(torch.cat([getattr(p, name) for p in parts]) for name in ("z", "rate", "score", "curvature")))


def derivatives(density: MovingDensity, t: Tensor, x: Tensor, span: float) -> Points:
    """The derivatives of log p at times (n,) and states (n, d)."""
    with torch.enable_grad():
        at, when = x.clone().requires_grad_(), t.clone().requires_grad_()
        value = density.log_density(when, at)
        (rate,) = torch.autograd.grad(value.sum(), when, retain_graph=True)
        score = lambda y: torch.autograd.grad(density.log_density(t, y).sum(), y, create_graph=True)[0]  # noqa: E731
        s = score(at)
        curvature = torch.stack(
            [torch.autograd.grad(s[:, i].sum(), at, retain_graph=True)[0][:, i] for i in range(x.shape[1])], -1
        )
    family = density.family
    z, scale = (x - family.center) / family.scale, family.scale
    return Points(z, rate.detach() * span, s.detach() * scale, curvature.detach() * scale**2)


class _Training:
    def __init__(self, options: SnapshotMatching, dim: int, known: Tensor | None, seed: int) -> None:
        self.options, self.seed = options, seed
        conditioner = MaskedConditioner() if dim > 1 else MaskedConditioner(features=1)
        transformer = MLPTransformer(hidden=(options.hidden,))
        build = lambda offset: HollowNet(dim, conditioner, transformer, seed=seed + offset).double()  # noqa: E731
        self.drift = build(0)
        self.noise = build(1) if options.noise == "state" and known is None else None
        self.log_noise = torch.zeros(dim, dtype=torch.float64) if known is None else known.log()
        self.log_noise.requires_grad_(known is None)

    def run(self, points: Points, tell: Callable[[str, float], None]) -> float:
        """Trains, and returns the relative residual."""
        options = self.options
        parameters = [*self.drift.parameters(), *([] if self.noise is None else self.noise.parameters())]
        groups = [{"params": parameters}]
        if self.log_noise.requires_grad:
            groups.append({"params": [self.log_noise]})
        optimiser = torch.optim.Adam(groups, lr=options.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=max(options.steps, 2))
        generator = torch.Generator().manual_seed(self.seed)
        for step in range(options.steps):
            some = torch.randint(len(points.z), (min(options.batch, len(points.z)),), generator=generator)
            residual, f = residual_of(_chosen(points, some), self.drift, self.noise, self.log_noise)
            loss = _tamed(residual).mean() + options.smallness * f.square().sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 100.0)
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                if not bool(torch.isfinite(loss)):
                    raise NumericalError("The training diverged; take a smaller rate=.")
                tell("matching the residual", -float(loss.detach()))
        with torch.no_grad():
            left = residual_of(points, self.drift, self.noise, self.log_noise)[0]
            rate = _tamed(points.rate).mean().clamp_min(1e-12)
            return float((_tamed(left).mean() / rate).sqrt())


def _tamed(residual: Tensor) -> Tensor:
    """Squares that go over to absolute values far out, where a fitted density knows least."""
    size = _LOUD * residual.detach().abs().median().clamp_min(1e-6)
    a = residual.abs()
    return torch.where(a < size, a * a, size * (2 * a - size))


def _chosen(points: Points, some: Tensor) -> Points:
    return Points(points.z[some], points.rate[some], points.score[some], points.curvature[some])


def _flags(given: bool, settled: float, dim: int, residual: float) -> tuple[Flag, ...]:
    flags = [
        Flag(
            "note",
            "Not the only drift with these laws",
            "Laws alone don't fix a drift: what moves mass along level sets of every density is invisible. Of the "
            "drifts that fit, one with a small mean square was taken.",
            "Judge laws that are simulated with it, not the drift itself; paths would tell it.",
        )
    ]
    if not given:
        flags.append(
            Flag(
                "note",
                "The noise rests on the laws' motion",
                "Drift and noise could be told apart because the law moves; errors of one go into the other.",
                "Give SnapshotMatching(diffusion=...) where the noise is known.",
                settled,
            )
        )
    if residual > 0.5:
        flags.append(
            Flag(
                "warning",
                "Residual not matched",
                f"{residual:.2g} of the rate of change of log p is left: no drift and noise of this kind were found "
                "that move the density as the snapshots ask.",
                "Take more steps, other components=, or snapshots closer in time; drift or noise may depend on time.",
                residual,
            )
        )
    return tuple(flags)


__all__ = ["Match", "Points", "derivatives", "match", "residual_of"]

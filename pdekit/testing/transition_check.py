"""`check_transition`: a transition density against a numerical solution of the Fokker-Planck equation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pdekit.errors import InputError
from pdekit.sde import SDE
from pdekit.testing.comparison import CheckFailure
from pdekit.testing.reference import LogDensity, ReferenceTransition, reference_transition

_NEGLIGIBLE = 1e-4  # standard deviations


@dataclass(frozen=True)
class TransitionReport:
    """What was found about a transition density.

    Attributes:
        dts: The elapsed times.
        distance: The L1 distance to the reference at each of them.
        mass: The integral of the density over x1 at each of them.
        order: The slope of log distance over log dt; NaN where the distance is the reference's own error.
        reference_error: The reference's own error, estimated.
    """

    dts: np.ndarray
    distance: np.ndarray
    mass: np.ndarray
    order: float
    reference_error: np.ndarray


def check_transition(
    log_density: LogDensity,
    sde: SDE,
    x0: float,
    *,
    lower: float,
    upper: float,
    dts: Sequence[float] = (0.2, 0.1, 0.05, 0.025),
    order: float | None = None,
    slack: float = 0.15,
    tolerance: float | None = None,
    mass_tolerance: float | None = None,
) -> TransitionReport:
    """Check log p(x1, dt | x0) of a scalar SDE with coefficients that don't depend on time.

    Args:
        log_density: (x0 (n, 1), x1 (n, 1), dt (n,)) -> log p (n,), in float64.
        sde: The equation.
        x0: The start.
        lower: Where no mass gets to.
        upper: The other end.
        dts: Elapsed times.
        order: If given, the L1 distance must shrink like dt^order, within `slack`: 1/2 for Euler's density of
            multiplicative noise, 1 of additive noise; and the mean's error, in standard deviations, faster than dt.
        slack: See `order`.
        tolerance: If given, the largest L1 distance allowed at any dt: for densities that claim to be exact.
        mass_tolerance: How far masses may be from 1; by default the tolerance, or .02.

    Returns:
        Distances, masses and order.

    Raises:
        InputError: If neither order nor tolerance is given, or mass reaches an end.
        CheckFailure: If the distance, the order or the mass is wrong.

    Example:
        The exact density of an Ornstein-Uhlenbeck process:

        >>> ou = SDE(lambda t, x: -x, lambda t, x: 0.5 + 0 * x, dim=1)
        >>> def log_density(x0, x1, dt):
        ...     decay = torch.exp(-dt)
        ...     scale = torch.sqrt(0.125 * (1 - decay**2))
        ...     return torch.distributions.Normal(x0[:, 0] * decay, scale).log_prob(x1[:, 0])
        >>> found = check_transition(log_density, ou, 0.3, lower=-2.5, upper=2.5, tolerance=1e-4)
    """
    if order is None and tolerance is None:
        raise InputError("Say what is expected: order= of the L1 distance in dt, or tolerance= for an exact density.")
    times = np.asarray(dts, dtype=float)
    if times.ndim != 1 or times.size == 0 or not (np.isfinite(times) & (times > 0)).all():
        raise InputError(f"dts must be positive elapsed times, got {dts!r}.")
    if order is not None and np.unique(times).size < 3:
        raise InputError(f"An order shows from three different dts at least, got {list(dts)}.")
    reference = reference_transition(sde, x0, times, lower, upper)
    x1 = torch.tensor(reference.x, dtype=torch.float64).unsqueeze(-1)
    starts = torch.full_like(x1, x0)
    rows = []
    for dt in times:
        with torch.no_grad():
            found = log_density(starts, x1, torch.full_like(x1[:, 0], dt))
        if not isinstance(found, torch.Tensor) or tuple(found.shape) != (len(x1),):
            came = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise CheckFailure("transition", f"log p must have shape {(len(x1),)} at dt = {dt:g}, got {came}")
        if bool(torch.isnan(found).any()):
            where = float(x1[int(torch.isnan(found).nonzero()[0, 0]), 0])
            raise CheckFailure("transition", f"log p is NaN at x1 = {where:g}, x0 = {x0:g}, dt = {dt:g}")
        rows.append(torch.exp(found).numpy())
    density = np.array(rows)
    mass, distance = reference.integral(density), reference.integral(np.abs(density - reference.density))
    usable = distance > 5 * reference.error
    slope = np.polyfit(np.log(times[usable]), np.log(distance[usable]), 1)[0] if usable.sum() > 1 else np.nan
    report = TransitionReport(times, distance, mass, float(slope), reference.error)
    _judge(report, order, slack, tolerance, mass_tolerance)
    if order is not None:
        _judge_mean(reference, density, mass, times)
    return report


def _judge_mean(reference: ReferenceTransition, density: np.ndarray, mass: np.ndarray, times: np.ndarray) -> None:
    """The mean's error in standard deviations shrinks like dt^(3/2).

    A wrong drift makes it dt^(1/2), which the L1 distance of Euler's density for multiplicative noise would hide.
    """
    true = reference.integral(reference.density * reference.x)
    spread = np.sqrt(reference.integral(reference.density * (reference.x - true[:, None]) ** 2))
    off = np.abs(reference.integral(density * reference.x) / mass - true) / spread
    if off.max() <= _NEGLIGIBLE:
        return
    slope = np.polyfit(np.log(times), np.log(np.maximum(off, 1e-300)), 1)[0]
    if not slope >= 1:
        raise CheckFailure(
            "transition",
            f"the mean is off by {off.max():.3g} standard deviations, shrinking like dt^{slope:.2f}, not dt^1.5: "
            "is the drift right, and the convention?",
        )


def _judge(
    report: TransitionReport,
    order: float | None,
    slack: float,
    tolerance: float | None,
    mass_tolerance: float | None,
) -> None:
    allowed = mass_tolerance if mass_tolerance is not None else tolerance if tolerance is not None else 0.02
    off = np.abs(report.mass - 1)
    if not (off <= allowed).all():
        i = int(np.argmax(off))
        raise CheckFailure("transition", f"the mass at dt = {report.dts[i]:g} is {report.mass[i]:.6g}, not 1")
    if tolerance is not None and not (report.distance <= tolerance + 3 * report.reference_error).all():
        i = int(np.argmax(report.distance))
        raise CheckFailure(
            "transition",
            f"the L1 distance to the Fokker-Planck solution at dt = {report.dts[i]:g} is {report.distance[i]:.3g}, "
            f"allowed {tolerance:g}",
        )
    if order is not None and not abs(report.order - order) <= slack:
        listed = ", ".join(f"{d:.3g} at {t:g}" for d, t in zip(report.distance, report.dts, strict=True))
        how = (
            f"shrinks like dt^{report.order:.2f}" if np.isfinite(report.order) else "is no larger than the reference's"
        )
        raise CheckFailure("transition", f"the L1 distance {how}, expected dt^{order:g} ({listed})")


__all__ = ["TransitionReport", "check_transition"]

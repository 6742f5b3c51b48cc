"""Whether the data come close to a boundary that the fitted process reaches."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from pdekit.fitting.diagnosis.checks import Check
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

# A boundary further than this from every observation, in one-step standard deviations, plays no part in the likelihood.
_NEAR = 4.0


def check_boundary(evidence: Evidence) -> list[Check]:
    """One line for every finite bound of the model's domain."""
    model = evidence.model
    checks = []
    for j, bounds in enumerate(model.domain):
        for side, bound in zip(("lower", "upper"), bounds, strict=True):
            if math.isfinite(bound):
                checks.append(_check(evidence, j, bound, side))
    return checks


def _check(evidence: Evidence, j: int, bound: float, side: str) -> Check:
    state = evidence.model.state_names[j]
    distance, share = _steps_away(evidence, j, bound)
    name, statistic = f"Boundary {state} = {bound:g}", f"{distance:.2g} one-step sd away"
    where = (
        f"Observations come within {distance:.2g} one-step standard deviations of the {side} bound {state} = {bound:g}"
    )
    if distance > _NEAR:
        detail = f"Every observation is at least {distance:.3g} one-step standard deviations from {state} = {bound:g}."
        return Check(name, statistic, f"> {_NEAR:g}", Flag("ok", f"Far from {state} = {bound:g}", detail, "", distance))
    if evidence.model.dim > 1:
        detail = f"{where} ({share:.1%} of the steps begin that near). One Gaussian step knows nothing of a boundary."
        action = (
            "Treat estimates as approximate, or transform the state so that the boundary moves to infinity (log = "
            "for a positive one)."
        )
        return Check(
            name, statistic, f"> {_NEAR:g}", Flag("note", f"Near {state} = {bound:g}", detail, action, distance)
        )
    local = local_exponents(evidence, bound, side)
    if local is None or not local.attainable:
        detail = f"{where}, but at the estimate the process never reaches it."
        return Check(
            name,
            f"{statistic}, not attainable",
            "",
            Flag("ok", f"{state} = {bound:g} is not reached at the estimate", detail, "", distance),
        )
    fate = "stays there: it is absorbed" if local.absorbing else "is reflected there at once"
    detail = (
        f"{where} ({share:.1%} of the steps begin that near), and the fitted process reaches it. The likelihood "
        f"assumes that it {fate}."
    )
    action = (
        "Ask whether that is what your system does. If it does something else at the boundary, cut the record before "
        "it gets there."
    )
    return Check(
        name,
        f"{statistic}, attainable",
        "",
        Flag("note", f"Boundary {state} = {bound:g} is reached", detail, action, distance),
    )


def _steps_away(evidence: Evidence, j: int, bound: float) -> tuple[float, float]:
    """The least distance to the bound over the sd of one step from there, and the share of steps that begin near."""
    pairs = evidence.pairs
    with torch.no_grad():
        step = evidence.coefficients.size(pairs.t[:, None], pairs.x0, evidence.theta, j) * pairs.dt.sqrt()
    away = ((pairs.x0[:, j] - bound).abs() / step).numpy()
    return float(np.nanmin(away)), float(np.mean(away < _NEAR))


@dataclass(frozen=True)
class LocalExponents:
    """How a one-state process behaves at a finite bound, at distance z.

    Attributes:
        attainable: Whether it gets there in finite time with positive probability.
        absorbing: Whether it can't come back: its speed density 2 / g^2 exp(int 2 f / g^2) is not integrable there.
    """

    attainable: bool
    absorbing: bool


def local_exponents(evidence: Evidence, bound: float, side: str) -> LocalExponents | None:
    """Feller's tests at a finite bound, from the coefficients near it; None where they can't be evaluated.

    Let 2 f / g^2 ~ q / z (positive q pointing inward) and g^2 ~ z^p. The scale density z^-q is integrable if q < 1, the
    speed density z^(q - p) if 1 + q - p > 0, and the expected time to the bound, the integral of z^(1 - p), is finite
    if p < 2. Where the drift alone draws the process in, q falls without bound and the time is the integral of 1 / |f|.
    """
    function = evidence.coefficients
    inward = 1.0 if side == "lower" else -1.0
    spread = float((evidence.pairs.x0[:, 0] - bound).abs().median())

    def local(z: float) -> tuple[float, float, float]:
        x = torch.tensor([[bound + inward * z]], dtype=torch.float64)
        with torch.no_grad():
            drift = float(function.drift(evidence.pairs.t[0], x, evidence.theta))
            noise = float(function.noise(evidence.pairs.t[0], x, evidence.theta))
        return inward * drift, inward * 2.0 * drift * z / noise**2, math.log(noise**2)

    try:
        (f_far, q_far, log_far), (f_near, q, log_near) = local(1e-5 * spread), local(1e-7 * spread)
        power = (log_far - log_near) / math.log(100.0)
        # A q that grows as z falls goes to infinity: repelled without fail, or drawn in.
        if abs(q) > 2.0 * abs(q_far) + 1e-6:
            if q > 0.0:
                return LocalExponents(attainable=False, absorbing=False)
            return LocalExponents(attainable=math.log(f_far / f_near) / math.log(100.0) < 1.0 - 1e-3, absorbing=True)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return LocalExponents(attainable=q < 1.0 - 1e-9 and power < 2.0 - 1e-3, absorbing=1.0 + q - power <= 1e-9)


def attainable(evidence: Evidence, bound: float, side: str) -> bool:
    """Whether the process of a one-state model reaches a finite bound, as far as `local_exponents` can tell."""
    local = local_exponents(evidence, bound, side)
    return local is not None and local.attainable

"""Whether the step is too coarse for a likelihood of single Euler steps, measured at the data's own states."""

import numpy as np
import torch

from pdekit.data import Pairs
from pdekit.errors import PdekitError
from pdekit.fitting.densities.choose import resolved, transition_density
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.kessler import KesslerTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.protocol import MixedTransition, TransitionDensity, select_pairs
from pdekit.fitting.densities.step_bias import FineSteps
from pdekit.fitting.diagnosis.checks import Check
from pdekit.fitting.diagnosis.resimulate import Stepper
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

_MOST_PAIRS = 2_000
_REPLICATES = 10
_SUBSTEPS = 16
_WARNING, _SERIOUS = 0.5, 2.0
# Of the variance of a step, beyond the noise of 2,000 simulated ones (3 %).
_SPREAD = 0.15


def uses_euler(density: TransitionDensity) -> bool:
    """Whether some pairs are served by Euler steps."""
    if isinstance(density, MixedTransition):
        return any(uses_euler(part) for _, part in density.parts)
    return isinstance(density, EulerTransition)


def euler_bias(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The bias of Euler's estimate in standard errors, and its Monte Carlo error, each (k,).

    From observed states the fitted process is run over one step dt finely, and once by a single Euler step with the
    same Brownian
    increments. If the fine path is the truth, the Euler score has mean b = E[s(fine)] = E[s(fine) - s(Euler step)],
    since the Euler
    score has mean zero under its own law; the estimate is then off by C N b, C its covariance.
    """
    pairs = evidence.pairs
    some = torch.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_PAIRS)).long()
    chosen = select_pairs(pairs, some)
    density = EulerTransition(evidence.model, chosen)
    stepper = Stepper(evidence.model, evidence.theta)
    t, dt = chosen.t[:, None], chosen.dt[:, None]
    generator = torch.Generator().manual_seed(evidence.seed)
    biases = []
    for _ in range(_REPLICATES):
        with torch.no_grad():
            fine, increment = stepper.run(t, chosen.x0, dt, _SUBSTEPS, generator)
            coarse = stepper.free_step(t, chosen.x0, dt, increment)
        theta = evidence.theta.detach().clone().requires_grad_()
        difference = (density.log_density_at(theta, fine) - density.log_density_at(theta, coarse)).mean()
        (score,) = torch.autograd.grad(difference, theta)
        biases.append((evidence.covariance @ score * len(pairs)).numpy())
    # The fine path's own bias is a sixteenth of the coarse step's, to first order.
    errors = evidence.covariance.diagonal().clamp_min(0.0).sqrt().numpy()
    scaled = np.stack(biases) * _SUBSTEPS / (_SUBSTEPS - 1) / np.where(errors > 0, errors, np.inf)
    return scaled.mean(0), scaled.std(0, ddof=1) / np.sqrt(_REPLICATES)


def check_euler_step(evidence: Evidence) -> Check | None:
    """The bias that normal densities of single steps leave in the estimate; None where none are used."""
    if isinstance(evidence.density, KesslerTransition | LocalLinearTransition):
        return _check_normal(evidence)
    if not uses_euler(evidence.density):
        return None
    name = "Euler step"
    if not len(evidence.theta):
        return _check_spread(evidence, name)
    try:
        bias, noise = euler_bias(evidence)
    except PdekitError as error:
        detail = f"The bias of Euler's step could not be measured: {error}"
        return Check(
            name,
            "not measured",
            "",
            Flag("note", "Euler step not checked", detail, "Compare with every second observation."),
        )
    worst = int(np.abs(bias).argmax())
    size, error, parameter = abs(float(bias[worst])), float(noise[worst]), evidence.model.param_names[worst]
    statistic, limit = f"{bias[worst]:+.2g} se in {parameter}", f"<= {_WARNING:g} se"
    detail = (
        f"Against a simulation sixteen times finer, one Euler step per observation moves {parameter} by "
        f"{bias[worst]:+.2g} standard errors (+- {error:.1g}, Monte Carlo), more than any other parameter."
    )
    # Within its own Monte Carlo error of the limit a bias is not worth an alarm.
    if not np.isfinite(size):
        severity = "serious"
    else:
        sure = max(0.0, size - 2.0 * error)
        severity = "serious" if sure > _SERIOUS else "warning" if sure > _WARNING else "ok"
    if severity == "ok":
        return Check(name, statistic, limit, Flag("ok", "The step is short enough for Euler", detail, "", size))
    scalar = evidence.model.dim == 1 and evidence.model.autonomous and evidence.model.noise_dim == 1
    action = (
        'Fit with method="auto", which has no such bias.'
        if scalar
        else 'Fit with method="auto", which takes a better density, or sample more finely; until then read the '
        "estimate as biased by that much, and its intervals as too narrow."
    )
    return Check(name, statistic, limit, Flag(severity, "Step too coarse for Euler", detail, action, size))


def _check_normal(evidence: Evidence) -> Check | None:
    """The same for densities that are better than Euler's; nothing where they are exact."""
    density, name = evidence.density, "Normal step"
    if isinstance(density, LocalLinearTransition) and density.exact:
        return None
    try:
        steps = FineSteps(evidence.model, evidence.pairs, evidence.theta, evidence.seed)  # type: ignore[arg-type]
        again = transition_density(evidence.model, steps.pairs, evidence.theta, resolved(density, "auto"))  # type: ignore[arg-type]
        found = steps.bias(again)  # type: ignore[arg-type]
    except PdekitError as error:
        detail = f"The bias of the normal density could not be measured: {error}"
        action = "Compare with every second observation."
        return Check(name, "not measured", "", Flag("note", "Step not checked", detail, action))
    statistic, limit = f"{found.size:.2g} se in {found.parameter}", f"<= {_WARNING:g} se"
    detail = (
        f"Against a fine simulation, a normal density for each step moves {found.parameter} by {found.size:.2g} "
        f"standard errors (+- {found.noise:.1g}, Monte Carlo), more than any other parameter."
    )
    sure = max(0.0, found.size - 2.0 * found.noise)
    if sure <= _WARNING:
        flag = Flag("ok", "The step is short enough for a normal density", detail, "", found.size)
        return Check(name, statistic, limit, flag)
    action = "Sample more finely; until then read the estimate as biased by that much, and its intervals as too narrow."
    severity = "serious" if sure > _SERIOUS else "warning"
    return Check(name, statistic, limit, Flag(severity, "Step too coarse for a normal density", detail, action))


def _check_spread(evidence: Evidence, name: str) -> Check:
    """For learned coefficients, which have no parameters to be off: how wide fine steps scatter about Euler's."""
    pairs = evidence.pairs
    chosen = select_pairs(pairs, torch.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_PAIRS)).long())
    t, dt, generator = chosen.t[:, None], chosen.dt[:, None], torch.Generator().manual_seed(evidence.seed)
    with torch.no_grad():
        fine, _ = Stepper(evidence.model, evidence.theta).run(t, chosen.x0, dt, _SUBSTEPS, generator)
        ends = Pairs(chosen.t, chosen.dt, chosen.x0, fine, chosen.path)
        squares = EulerTransition(evidence.model, ends).residuals(evidence.theta).square().nanmean(0)
    off = float((squares - 1).abs().max())
    statistic, limit = f"{off:.1%} in the variance", f"<= {_SPREAD:.0%}"
    detail = f"Simulated sixteen times finer, the learned equation's steps scatter {off:.1%} off what one step has it."
    if off <= _SPREAD:
        return Check(name, statistic, limit, Flag("ok", "The step is short enough for Euler", detail, "", off))
    action = "Sample more finely, or state a model with symbols, whose likelihood holds at this step."
    severity = "serious" if off > 4 * _SPREAD else "warning"
    return Check(name, statistic, limit, Flag(severity, "Step too coarse for Euler", detail, action, off))

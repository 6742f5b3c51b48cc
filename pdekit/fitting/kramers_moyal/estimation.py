"""From trajectories to tabulated drift and noise."""

import math

import numpy as np
import torch

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, NumericalError, UnsupportedError
from pdekit.fitting.kramers_moyal.checks import findings
from pdekit.fitting.kramers_moyal.conditional import Moments, Progress, conditional_moments
from pdekit.fitting.kramers_moyal.finite_time import Limit, bring_to_limit, log_cholesky
from pdekit.fitting.kramers_moyal.model import KernelSDE, Tables
from pdekit.fitting.kramers_moyal.options import KramersMoyal
from pdekit.fitting.kramers_moyal.steps import Steps
from pdekit.fitting.learned import box_of
from pdekit.threads import one_thread

MOST_STATES, _MOST_BINNED = 6, 3
_FEWEST_STEPS = 50
_FEWEST_NEAR = 10  # observations within a bandwidth


def estimate(
    options: KramersMoyal, data: Trajectories, *, seed: int = 0, progress: Progress | None = None
) -> KernelSDE:
    """Estimates drift and diffusion tensor.

    Args:
        options: How.
        data: Observed paths.
        seed: Of the clusters in which nodes are placed, with three and more states; nothing else is random.
        progress: Called with (what is being done, how much of it is done from 0 to 1).

    Raises:
        DataError: If there are too few steps.
        InputError: If an option does not suit the data.
        UnsupportedError: With more states than a kernel can serve.
        NumericalError: With `extrapolate=True`, if the step is too coarse for it.

    Example:
        >>> x = np.random.default_rng(0).standard_normal(4000)
        >>> for k in range(3999):
        ...     x[k + 1] = 0.98 * x[k] + 0.2 * x[k + 1]
        >>> sde = estimate(KramersMoyal(), Trajectories.from_arrays(None, x, fixed_dt=0.02))
        >>> bool((sde.drift(0.0, torch.ones(1, 1)) + 1.0).abs() < 4.0 * sde.drift_stderr(torch.ones(1, 1)))
        True
    """
    _check(options, data)
    states = np.concatenate([x.numpy() for x in data.values])
    centre, scale = states.mean(0), _spread(states)
    steps = Steps.of(data, options.steps[0], centre, scale)
    if len(steps) < _FEWEST_STEPS * data.dim:
        raise DataError(
            f"There are {len(steps)} increments for {data.dim} state(s); at least {_FEWEST_STEPS} per state are needed "
            "to estimate functions. Fit a model with a formula, which needs fewer."
        )
    with one_thread(0):
        moments = conditional_moments(options, steps, scale, seed, progress or (lambda what, done: None))
        limit = _limit(options, moments)
        return _build(options, data, moments, limit, centre, scale)


def _limit(options: KramersMoyal, moments: Moments) -> Limit:
    """Drift and tensor as dt -> 0, or those of finite steps."""
    as_is = Limit(moments.first, moments.second, 0.0)
    if options.extrapolate is False:
        return as_is
    limit = bring_to_limit(
        moments.design, moments.first, moments.second, moments.pull, moments.steps.step, moments.design.share
    )
    if not limit.converged and options.extrapolate is True:
        raise NumericalError(
            f"The step {moments.steps.step[0]:.3g} is too coarse to be extrapolated to zero: corrections still change "
            f"the moments by {limit.residual:.1%}. Fit a formula with the Fokker-Planck likelihood, which has no such "
            "limit."
        )
    return limit


def _build(
    options: KramersMoyal, data: Trajectories, moments: Moments, limit: Limit, centre: np.ndarray, scale: np.ndarray
) -> KernelSDE:
    design, dim = moments.design, data.dim
    stand_in = design.stand_ins()
    errors, sizes = _standard_errors(moments, limit)
    entries = log_cholesky(limit.tensor * scale[:, None] * scale)
    if options.noise == "diagonal":
        entries = entries[:, :dim]
    table = lambda values: design.interpolant(values)  # noqa: E731
    tables = Tables(
        torch.from_numpy(centre),
        torch.from_numpy(scale),
        torch.from_numpy(moments.pull),
        table(limit.drift * scale),
        table(entries),
        table(np.log(errors * scale)[stand_in]),
        table(np.log(sizes * scale)[stand_in]),
    )
    details, flags = findings(options, data, moments, limit, centre, scale)
    states = torch.cat(data.values)
    return KernelSDE(
        tables,
        details=details,
        flags=flags,
        state_names=data.names,
        domain=((-math.inf, math.inf),) * dim,
        reach=box_of(states),
        diagonal=options.noise == "diagonal",
        name="Kramers-Moyal",
        description="Drift and noise as smooth functions of the state, from conditional moments of the increments.",
    )


def _standard_errors(moments: Moments, limit: Limit) -> tuple[np.ndarray, np.ndarray]:
    """Of f and of (2 D_ii)^{1/2} at the nodes, each (C, d), in scaled states."""
    before = np.diagonal(moments.second, axis1=1, axis2=2)
    after = np.diagonal(limit.tensor, axis1=1, axis2=2)
    diffusion = moments.tensor.stderr[:, : moments.steps.dim] * after / before / np.sqrt(2.0 * after)
    # A mean over a step is a drift times (1 - e^(-kappa dt)) / (kappa dt); going back enlarges errors as well.
    fade = np.maximum(moments.pull * moments.steps.step[0], 1e-12)
    enlarged = fade / -np.expm1(-fade) if limit.tensor is not moments.second else 1.0
    return np.maximum(moments.drift.stderr * enlarged, 1e-300), np.maximum(diffusion, 1e-300)


def _check(options: KramersMoyal, data: Trajectories) -> None:
    most = _MOST_BINNED if options.estimator == "bins" else MOST_STATES
    if data.dim > most:
        raise UnsupportedError(
            f"There are {data.dim} states; {options.estimator} estimates go up to {most}, as beyond there is hardly an "
            "observation near any point. Fit pk.NeuralSDE(), pk.SparseSDE() or a formula."
        )
    if options.widths is not None and len(options.widths) not in (1, data.dim):
        raise InputError(f"There are {data.dim} states, and {len(options.widths)} bandwidths. Give one, or one each.")
    states = torch.cat(data.values)
    ranges = (states.amax(0) - states.amin(0)).tolist()
    for i, (width, extent) in enumerate(zip((options.widths or ()) * data.dim, ranges, strict=False)):
        if 2.0 * width * len(states) < _FEWEST_NEAR * extent:
            raise InputError(
                f"A bandwidth of {width:.3g} is so narrow that fewer than {_FEWEST_NEAR} of {len(states):,} "
                f"observations of {data.names[i]} lie within it, on average. Take at least "
                f"{0.5 * _FEWEST_NEAR * extent / len(states):.2g}, or leave it out."
            )


def _spread(states: np.ndarray) -> np.ndarray:
    """The standard deviation, or that of a normal law with the same quartiles where this is less and not too small."""
    sd = states.std(0)
    quartiles = np.quantile(states, (0.25, 0.75), axis=0)
    return np.clip((quartiles[1] - quartiles[0]) / 1.349, 0.2 * sd, sd)


__all__ = ["MOST_STATES", "estimate"]

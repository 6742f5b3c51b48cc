"""Whether the model that fits one step also fits several: Chapman and Kolmogorov's equation, held against the data.

A fit makes the law of single steps right. If the process has memory, hidden variables or noisy readings, the law of
two or
more steps that the same parameters imply is wrong.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pdekit.data import Pairs
from pdekit.errors import PdekitError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.diagnosis.checks import LEVEL, Check, legendre, moment_test, p_text
from pdekit.fitting.diagnosis.relaxation import Relaxation
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.diagnosis.resimulate import Stepper
from pdekit.fitting.diagnosis.uniformity import GRAVE, distance
from pdekit.fitting.evidence import Evidence
from pdekit.report import Flag

_MOST_BLOCKS = 2_000
_FEWEST_BLOCKS = 25
_LONGEST_LAG = 100
_DEGREE = 3
_HARMLESS = 0.03
_SIMULATED_BLOCKS = 400
_SIMULATIONS = 79
_SUBSTEPS = 4


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Non-overlapping stretches of `lag` steps: the pairs from end to end, and the steps each is made of, (n, lag)."""

    pairs: Pairs
    members: np.ndarray


def check_chapman_kolmogorov(evidence: Evidence, residuals: Residuals, found: Relaxation | None) -> list[Check]:
    """The law of two steps, and of about half a relaxation time, against the data."""
    lags = [2]
    if found is not None:
        half = found.time / (2.0 * float(evidence.pairs.dt.median()))
        long = int(min(half, len(evidence.pairs) / 50, _LONGEST_LAG))
        lags += [long] if long > 3 else []
    checks = [_check(evidence, residuals, lag, len(lags)) for lag in lags]
    return [check for check in checks if check is not None]


def _check(evidence: Evidence, residuals: Residuals, lag: int, tests: int) -> Check | None:
    blocks = _blocks(evidence.pairs, lag, _MOST_BLOCKS)
    name = f"Chapman-Kolmogorov, {lag} steps"
    if len(blocks.members) < _FEWEST_BLOCKS:
        return None
    try:
        blocks, candidates = _uniforms(evidence, blocks)
    except PdekitError as error:
        detail = f"The law of {lag} steps could not be computed at the estimate: {error}"
        return Check(name, "not computed", "", Flag("note", f"Law of {lag} steps not checked", detail, ""))
    scores = residuals.scores[blocks.members].sum(1)
    results = []
    for label, u in candidates:
        counts = np.full(_DEGREE, len(u))
        test = moment_test(legendre(u, _DEGREE), scores, evidence.covariance.numpy(), counts)
        results.append((test.p_value, distance(u), label))
    p_value, effect, label = min(results, key=lambda r: (r[0], -r[1]))
    p_value = min(1.0, p_value * len(results) * tests)
    statistic = f"max |F_n - u| = {effect:.3f}{label}"
    detail = (
        f"Over {lag} steps at once the observations{label} leave the law that the fitted model implies by at most "
        f"{effect:.3f} ({len(blocks.members)} stretches, smooth test {p_text(p_value)})."
    )
    if p_value >= LEVEL:
        flag = Flag("ok", f"The fit also holds over {lag} steps", detail, "", effect)
    elif effect < _HARMLESS:
        flag = Flag("note", f"Slightly off over {lag} steps", detail, "Nothing: it is significant but small.", effect)
    else:
        action = (
            "The data are not Markov in this state, or the drift has the wrong shape: look for measurement noise, a "
            "hidden variable, or memory; refit to every second observation and compare the estimates."
        )
        flag = Flag(
            "serious" if effect > GRAVE else "warning", f"The fit fails over {lag} steps", detail, action, effect
        )
    return Check(name, statistic, p_text(p_value), flag)


def _blocks(pairs: Pairs, lag: int, most: int) -> _Blocks:
    path = pairs.path.numpy()
    # Positions within each path, so that blocks start at its first observation.
    starts_path = np.r_[True, path[1:] != path[:-1]]
    offset = np.arange(len(path)) - np.flatnonzero(starts_path)[np.cumsum(starts_path) - 1]
    first = np.flatnonzero(offset % lag == 0)
    first = first[first + lag <= len(path)]
    first = first[path[first] == path[first + lag - 1]]
    if len(first) > most:
        first = first[np.linspace(0, len(first) - 1, most).astype(np.int64)]
    members = first[:, None] + np.arange(lag)
    start, end = torch.from_numpy(first), torch.from_numpy(first + lag - 1)
    elapsed = pairs.dt[torch.from_numpy(members)].sum(-1)
    return _Blocks(Pairs(pairs.t[start], elapsed, pairs.x0[start], pairs.x1[end], pairs.path[start]), members)


def _uniforms(evidence: Evidence, blocks: _Blocks) -> tuple[_Blocks, list[tuple[str, np.ndarray]]]:
    """The blocks used, and (label, PIT values) of each component."""
    if evidence.model.dim == 1:
        density = transition_density(evidence.model, blocks.pairs, evidence.theta)
        if not isinstance(density, GaussianTransition):
            return blocks, [("", density.cdf(evidence.theta).numpy())]
    blocks = _thinned(blocks)
    ranks = _simulated_ranks(evidence, blocks)
    labels = [f" ({name})" for name in evidence.model.state_names]
    return blocks, [(label, ranks[:, j]) for j, label in enumerate(labels)]


def _thinned(blocks: _Blocks) -> _Blocks:
    count = len(blocks.members)
    if count <= _SIMULATED_BLOCKS:
        return blocks
    kept = np.linspace(0, count - 1, _SIMULATED_BLOCKS).astype(np.int64)
    pairs, at = blocks.pairs, torch.from_numpy(kept)
    chosen = Pairs(pairs.t[at], pairs.dt[at], pairs.x0[at], pairs.x1[at], pairs.path[at])
    return _Blocks(chosen, blocks.members[kept])


def _simulated_ranks(evidence: Evidence, blocks: _Blocks) -> np.ndarray:
    """Where each end lies among ends simulated from its start, made continuous, (n, d): uniform under the model."""
    generator = torch.Generator().manual_seed(evidence.seed)
    stepper = Stepper(evidence.model, evidence.theta)
    repeat = lambda v: v.repeat_interleave(_SIMULATIONS, 0)  # noqa: E731
    pairs, lag = blocks.pairs, blocks.members.shape[1]
    with torch.no_grad():
        ends, _ = stepper.run(
            repeat(pairs.t)[:, None], repeat(pairs.x0), repeat(pairs.dt)[:, None], _SUBSTEPS * lag, generator
        )
    below = (ends.view(len(pairs), _SIMULATIONS, -1) < pairs.x1[:, None, :]).sum(1)
    share = torch.rand(below.shape, generator=generator, dtype=torch.float64)
    return ((below + share) / (_SIMULATIONS + 1)).numpy()

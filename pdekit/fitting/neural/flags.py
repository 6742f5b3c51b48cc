"""What is worth knowing about a neural fit, in plain words."""

import numpy as np
import torch

from pdekit.fitting.neural.member import NOISE_RANGE, Member
from pdekit.fitting.neural.moments import predict
from pdekit.fitting.neural.network_sde import NeuralHistory
from pdekit.fitting.neural.options import NeuralSDE
from pdekit.fitting.neural.survey import Survey
from pdekit.fitting.neural.training import Position
from pdekit.report import Flag

_FEW = 5000
_EDGE = 0.01
_SUBSTEPS = 4  # of the moments by which increments are standardised
_CORRELATED = 4.0  # standard errors
_COARSE = 8  # substeps


def findings(
    options: NeuralSDE, seen: Survey, at: Position, history: NeuralHistory, members: list[Member], *, polished: bool
) -> tuple[Flag, ...]:
    """The flags of a training."""
    found = [
        _against_linear(at, history),
        _against_start(at, history),
        _step(at, seen, polished),
        _floor(members, seen),
        _correlation(options, members, seen),
        _few(seen),
    ]
    return tuple(flag for flag in found if flag is not None)


def _against_linear(at: Position, history: NeuralHistory) -> Flag:
    gain = float(at.level[1] + history.gains[history.chosen])
    error = (
        max(at.level[2] - at.level[1] ** 2 / max(at.scores[0][2], 1.0), 0.0) + history.errors[history.chosen] ** 2
    ) ** 0.5
    detail = f"On held-out data the network's log-likelihood is {gain:+.3g} (+- {error:.2g}) against a linear drift."
    if gain > error:
        return Flag("ok", "The network predicts better than a linear drift", detail, "", gain)
    return Flag(
        "note",
        "Not improved over the linear warm start",
        f"{detail} The drift is linear as far as these data tell.",
        "A linear SymbolicSDE says the same with fewer numbers; a longer record may show more.",
        gain,
    )


def _against_start(at: Position, history: NeuralHistory) -> Flag | None:
    if history.chosen or len(history.gains) < 2:
        return None
    last, error = history.gains[-1], history.errors[-1]
    if last < -error:
        return Flag(
            "note",
            "Training overfitted and was undone",
            f"After {int(history.steps[-1])} steps the networks predicted held-out data worse by {-last:.3g} "
            f"(+- {error:.2g}) in log-likelihood than untrained ones with their weights found exactly, which were "
            f"kept.",
            "Nothing needs doing; more data, or a smaller network, may let the training help.",
            float(last),
        )
    return Flag(
        "ok",
        "Training brought nothing",
        f"The trained networks gained {last:+.3g} (+- {error:.2g}) in held-out log-likelihood over untrained ones with "
        "their weights found exactly, which were kept.",
        "",
        float(last),
    )


def _step(at: Position, seen: Survey, polished: bool) -> Flag:
    detail = (
        f"Euler steps of {seen.longest:.3g} would move drift or noise by {at.bias:.2g} standard errors (root mean "
        f"square "
        "over the observed states)."
    )
    if not at.substeps:
        return Flag("ok", "The step is short enough for Euler", detail, "", at.bias)
    if polished:
        return Flag(
            "ok",
            "Euler steps would be biased; they were not used",
            f"{detail} The Fokker-Planck likelihood was.",
            "",
            at.bias,
        )
    used = f"{detail} Moments over {at.substeps} substep(s) were used instead."
    if at.substeps < _COARSE:
        return Flag("ok", "Euler steps would be biased; they were not used", used, "", at.bias)
    return Flag(
        "warning",
        "The step is coarse",
        f"{used} They take the law after a step as normal, which a step this long may not be.",
        "Sample more finely, or fit a formula: fit.model.to_symbolic() gives one to start from.",
        at.bias,
    )


def _floor(members: list[Member], seen: Survey) -> Flag | None:
    with torch.no_grad():
        logs = torch.stack([m.coefficients(seen.sample.t, seen.sample.x0)[1] - m.unit_noise.log() for m in members])
    share = float((logs <= -NOISE_RANGE + 1e-9).double().mean())
    if share < _EDGE:
        return None
    return Flag(
        "warning",
        "Noise at its floor",
        f"At {100 * share:.2g} % of the observed states the noise is at its smallest, {np.exp(-NOISE_RANGE):.2g} of "
        f"its "
        "typical size.",
        "Look for a state that hardly moves there, such as at a boundary or where values are rounded, and for states "
        "without noise of their own (a position driven by a velocity).",
        share,
    )


def _correlation(options: NeuralSDE, members: list[Member], seen: Survey) -> Flag | None:
    rows, d = seen.sample, len(seen.units.centre)
    if options.noise == "cholesky" or d == 1:
        return None
    # A drift correlates the states within a step as well, which the moments of the step know.
    law = predict(members[0], rows, _SUBSTEPS)
    white = torch.linalg.solve_triangular(law.root, (rows.x1 - law.mean)[..., None], upper=False)[..., 0]
    white = white[torch.isfinite(white).all(-1)]
    if len(white) < 2:
        return None
    white = white / white.square().mean(0).sqrt()
    correlation = torch.triu(white.mT @ white / len(white), 1)
    worst = float(correlation.abs().max())
    limit = _CORRELATED + float(np.log(d))  # of d (d - 1) / 2 the largest
    if worst * len(white) ** 0.5 < limit:
        return None
    return Flag(
        "warning",
        "The noise of the states is correlated",
        f"Increments of two states have a correlation of up to {worst:.2g} beyond what the drift explains.",
        'Use noise="cholesky".',
        worst,
    )


def _few(seen: Survey) -> Flag | None:
    if seen.n >= _FEW:
        return None
    return Flag(
        "note",
        "Few transitions for a network",
        f"There are {seen.n}; the marginal likelihood keeps what they can't determine near linear.",
        "A formula, pk.SparseSDE() or pk.KramersMoyal() may say more.",
        float(seen.n),
    )


__all__ = ["findings"]

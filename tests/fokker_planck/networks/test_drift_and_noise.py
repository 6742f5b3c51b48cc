"""The drift's derivatives against formulas derived by hand; which noise is additive."""

import pytest
import torch

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.noise import AdditiveNoise
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE

T = 0.7
STATES = torch.tensor([[0.3, -1.2], [1.1, 0.4], [-0.8, 2.0]], dtype=torch.float64)
S = torch.tensor([[0.5, -0.2], [1.5, 0.7], [-0.3, 2.0]], dtype=torch.float64)


def twisted(t, x):
    a, b = x.unbind(-1)
    return torch.stack([a * b - t * a**3, torch.sin(a) - b**2], -1)


def unit(t, x):
    return torch.ones_like(x)


def plain(drift, diffusion=unit, **options):
    return FokkerPlanckProblem(SDE(drift, diffusion, dim=2, **options))


SYMBOLIC = FokkerPlanckProblem(SymbolicSDE(["x", "y"], ["x*y - t*x**3", "sin(x) - y**2"], ["1", "1"]))


@pytest.mark.parametrize("problem", [SYMBOLIC, plain(twisted)], ids=["symbols", "autograd"])
def test_divergence_and_pull_are_those_by_hand(problem):
    drift = Drift.of(problem)
    (a, b), (s, r) = STATES.unbind(-1), S.unbind(-1)
    value, spread = drift.with_divergence(T, STATES)
    same, pull = drift.with_pull(T, STATES, S)
    by_hand = [s * (b - 3 * T * a**2) + r * torch.cos(a) - 6 * T * a, s * a - 2 * r * b - 1]
    for found, truth in (
        (value, twisted(T, STATES)),
        (same, twisted(T, STATES)),
        (drift.value(T, STATES), twisted(T, STATES)),
        (spread, -b - 3 * T * a**2),
        (pull, torch.stack(by_hand, -1)),
    ):
        torch.testing.assert_close(found, truth, rtol=1e-13, atol=1e-13)
        assert not found.requires_grad


@pytest.mark.parametrize("symbols", [True, False])
def test_a_constant_drift_pulls_nowhere(symbols):
    model = SymbolicSDE(["x", "y"], ["1", "2"], ["1", "1"])
    constant = torch.tensor([1.0, 2.0], dtype=torch.float64)
    problem = FokkerPlanckProblem(model) if symbols else plain(lambda t, x: constant.expand(x.shape))
    drift = Drift.of(problem)
    value, pull = drift.with_pull(0.0, STATES, S)
    assert torch.equal(value, constant.expand(3, 2))
    assert torch.equal(pull, torch.zeros(3, 2, dtype=torch.float64))
    assert torch.equal(drift.with_divergence(0.0, STATES)[1], torch.zeros(3, dtype=torch.float64))
    assert drift.stiffness(0.0, STATES) == 0


def test_stratonovich_drift_becomes_itos():
    """For dX = X o dW the correction is X / 2."""
    drift = Drift.of(FokkerPlanckProblem(SymbolicSDE("x", "0", "x", convention="stratonovich")))
    torch.testing.assert_close(drift.value(0.0, STATES[:, :1]), STATES[:, :1] / 2)


def test_stiffness_is_the_greatest_spectral_norm_of_the_jacobian():
    a, b = STATES.unbind(-1)
    rows = [torch.stack([b - 3 * T * a**2, a], -1), torch.stack([torch.cos(a), -2 * b], -1)]
    width = STATES.std(0)
    greatest = torch.linalg.svdvals(torch.stack(rows, 1) * width / width[:, None]).max()
    assert Drift.of(SYMBOLIC).stiffness(T, STATES) == pytest.approx(float(greatest), rel=1e-12)


def test_a_drift_that_is_not_finite_is_named():
    drift = Drift.of(plain(lambda t, x: 1 / x))
    origin = torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    for call in (drift.value, drift.with_divergence, lambda t, x: drift.with_pull(t, x, x), drift.stiffness):
        with pytest.raises(NumericalError, match=r"not finite at .*= 0, .*= 2, t = 0.7"):
            call(T, origin)


def test_noise_that_depends_on_the_state_is_refused():
    for problem in (
        FokkerPlanckProblem(SymbolicSDE(["x", "y"], ["0", "0"], ["1", "2 + sin(x)"])),
        plain(twisted, lambda t, x: 1 + x**2),
        plain(twisted, lambda t, x: torch.diag_embed(1 + x**2), noise_type="general"),
    ):
        with pytest.raises(UnsupportedError, match="does not depend on the state"):
            AdditiveNoise(problem, STATES)


def test_noise_that_depends_on_the_time_alone_is_taken():
    symbolic = FokkerPlanckProblem(SymbolicSDE(["x", "y"], ["0", "0"], [["1 + t", "0"], ["t", "2"]]))
    factor = torch.tensor([[1 + T, 0], [T, 2]], dtype=torch.float64)
    general = plain(twisted, lambda t, x: factor.expand(len(x), 2, 2), noise_type="general")
    for problem in (symbolic, general):
        noise = AdditiveNoise(problem, STATES)
        torch.testing.assert_close(noise.factor(T), factor)
        torch.testing.assert_close(noise.tensor(T), 0.5 * factor @ factor.T)
    diagonal = AdditiveNoise(plain(twisted, lambda t, x: (1 + t) * torch.ones_like(x)), STATES)
    torch.testing.assert_close(diagonal.tensor(1.0), 2 * torch.eye(2, dtype=torch.float64))


def test_noise_that_is_not_finite_is_named():
    noise = AdditiveNoise(plain(twisted, lambda t, x: torch.ones_like(x) / (t - 0.5)), STATES)
    with pytest.raises(NumericalError, match=r"diffusion is not finite at t = 0.5"):
        noise.factor(0.5)

"""Mixtures of normal laws that follow paths: against SciPy, autograd and laws they were drawn from."""

import numpy as np
import pytest
import scipy.stats as st
import torch
from scipy.special import logsumexp

from pdekit.errors import NumericalError
from pdekit.fokker_planck.networks.between import Times
from pdekit.fokker_planck.networks.mixture import Mixture, MovingMixture, chosen, fitted, followed
from pdekit.fokker_planck.networks.pathwise import Snapshot

WEIGHTS = torch.tensor([0.3, 0.7]).double()
MEANS = torch.tensor([[-2.0, 0.5], [1.0, 1.0]]).double()
FACTORS = torch.tensor([[[0.5, 0.0], [0.3, 0.8]], [[1.2, 0.0], [-0.4, 0.6]]]).double()
TWO = Mixture(WEIGHTS, MEANS, FACTORS)
X = torch.randn(40, 2, generator=torch.Generator().manual_seed(3)).double() * 2


def gradient(function, x):
    state = x.clone().requires_grad_()
    return torch.autograd.grad(function(state).sum(), state)[0]


def test_densities_are_scipys():
    laws = [st.multivariate_normal(m, f @ f.T) for m, f in zip(MEANS.numpy(), FACTORS.numpy(), strict=True)]
    logs = np.stack([np.log(w) + law.logpdf(X) for w, law in zip(WEIGHTS.numpy(), laws, strict=True)], -1)
    np.testing.assert_allclose(TWO.logs(X), logs, rtol=1e-12)
    np.testing.assert_allclose(TWO.log_values(X), logsumexp(logs, -1), rtol=1e-12)
    np.testing.assert_allclose(TWO.shares(X), np.exp(logs - logsumexp(logs, -1, keepdims=True)), rtol=1e-10)
    np.testing.assert_allclose(TWO.density().log_values(X.numpy()), logsumexp(logs, -1), rtol=1e-12)


def test_derivatives_are_those_of_autograd():
    d = torch.tensor([[0.7, 0.2], [0.2, 0.4]]).double()
    a = torch.tensor([1.5, -0.5]).double()
    hessians = torch.stack([torch.autograd.functional.hessian(lambda y: TWO.log_values(y[None])[0], x) for x in X])
    torch.testing.assert_close(TWO.score(X), gradient(TWO.log_values, X))
    torch.testing.assert_close(TWO.differentiable_score(X), TWO.score(X))
    torch.testing.assert_close(TWO.spread(X, d), (hessians * d).sum((-2, -1)))
    torch.testing.assert_close(TWO.share_slope(X, a), gradient(lambda x: TWO.shares(x) @ a, X))


def test_draws_have_the_moments_of_the_mixture():
    x = TWO.draw(100_000, torch.Generator().manual_seed(0))
    exact = TWO.density().moments()
    assert np.abs(x.mean(0).numpy() - exact.mean).max() < 5 * 2 / 100_000**0.5
    assert np.abs(np.cov(x.T.numpy()) - exact.covariance).max() < 5 * 6 / 100_000**0.5


def test_a_known_mixture_is_found():
    x = TWO.draw(40_000, torch.Generator().manual_seed(1))
    found = fitted(x, 2, 0, most=len(x))
    order = found.means[:, 0].argsort()
    # The standard errors of a share, of means and of variances are about 0.01.
    assert np.abs((found.weights[order] - WEIGHTS).numpy()).max() < 0.02
    assert np.abs((found.means[order] - MEANS).numpy()).max() < 0.05
    covariances = (found.factors @ found.factors.mT)[order]
    assert np.abs((covariances - FACTORS @ FACTORS.mT).numpy()).max() < 0.07
    again = fitted(x, 2, 0, found, len(x))
    assert torch.allclose(again.means, found.means, atol=0.01)
    assert float(again.log_values(x).mean()) >= float(found.log_values(x).mean()) - 1e-4


def test_states_of_any_size_and_place_are_fitted_alike():
    x = TWO.draw(20_000, torch.Generator().manual_seed(1))
    plain, moved = fitted(x, 2, 0), fitted(1e-3 * x + 50, 2, 0)
    torch.testing.assert_close(moved.means, 1e-3 * plain.means + 50, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved.factors, 1e-3 * plain.factors, rtol=1e-4, atol=1e-7)


def test_states_in_a_plane_are_refused():
    x = torch.randn(6000, 2).double() * torch.tensor([1.0, 0.0]).double()
    with pytest.raises(NumericalError, match="has no density"):
        fitted(x, 1, 0)


@pytest.mark.parametrize("paths", [20_000, 1000])
def test_normal_states_get_one_component(paths):
    law = Mixture(WEIGHTS[:1] / WEIGHTS[:1], MEANS[:1], FACTORS[:1])
    x = law.draw(paths, torch.Generator().manual_seed(2))
    noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).double()
    found = chosen(Snapshot(0.0, x, law.score(x) + noise), 0, 12)
    assert len(found.weights) == 1
    np.testing.assert_allclose(found.means[0], x.mean(0), atol=1e-12)
    np.testing.assert_allclose((found.factors @ found.factors.mT)[0], np.cov(x.T, bias=True), rtol=1e-5, atol=1e-5)


def test_two_modes_get_two_components():
    x = TWO.draw(20_000, torch.Generator().manual_seed(2))
    found = chosen(Snapshot(0.0, x, TWO.score(x)), 0, 12)
    assert len(found.weights) == 2
    assert float((found.score(x) - TWO.score(x)).square().mean() / TWO.score(x).square().mean()) < 0.01


def test_components_keep_their_places_along_paths():
    """Where components change places between two snapshots, the mixture between them is nonsense."""
    snapshots = []
    for k in range(4):
        moved = Mixture(WEIGHTS, MEANS + 0.3 * k, FACTORS)
        x = moved.draw(12_000, torch.Generator().manual_seed(k))
        snapshots.append(Snapshot(0.25 * k, x, moved.score(x)))
    found = followed(snapshots, 0, 4)
    middle = found.at(Times(np.array([s.t for s in snapshots])).at(0.375))
    exact = Mixture(WEIGHTS, MEANS + 0.45, FACTORS)
    assert float((middle.log_values(X) - exact.log_values(X)).abs().max()) < 0.5
    assert float((middle.log_values(x) - exact.log_values(x)).abs().mean()) < 0.05


def test_where_a_time_lies():
    times = Times(np.array([1.0, 2.0, 4.0]))
    for t, before, share in ((1.0, 0, 0.0), (1.5, 0, 0.5), (3.0, 1, 0.5), (4.0, 1, 1.0), (5.0, 1, 1.5), (0.5, 0, -0.5)):
        found = times.at(t)
        assert (found.before, found.after) == (before, before + 1)
        assert found.share == pytest.approx(share)
        assert found.scaled == pytest.approx((t - 1) / 3)
    only = Times(np.array([2.0])).at(7.0)
    assert (only.before, only.after, only.scaled) == (0, 0, 0.0)
    assert only.mixed(X, X) is X


def test_interpolation_has_a_gradient_in_time():
    times = Times(np.array([1.0, 2.0, 4.0]))
    mixtures = [Mixture(WEIGHTS, MEANS + k, FACTORS * (1 + k)) for k in range(3)]
    moving = MovingMixture(tuple(mixtures))
    t = torch.tensor(3.2, dtype=torch.float64, requires_grad=True)
    value = moving.at(times.at(t, near=3.2)).log_values(X).sum()
    (slope,) = torch.autograd.grad(value, t)
    at = lambda s: float(moving.at(times.at(s)).log_values(X).sum())  # noqa: E731
    assert float(value.detach()) == pytest.approx(at(3.2), rel=1e-12)
    assert float(slope) == pytest.approx((at(3.2 + 1e-5) - at(3.2 - 1e-5)) / 2e-5, rel=1e-7)

"""Bridge and importance sampling against known constants."""

import numpy as np
import torch

from pdekit.fokker_planck.networks.mixture import Mixture
from pdekit.fokker_planck.networks.normaliser import Mass, bridge, importance

TWO = torch.tensor([[-3.0], [3.0]]).double()
ROOT = torch.tensor([[[1.0]], [[1.0]]]).double()


def mixture(first):
    return Mixture(torch.tensor([first, 1 - first]).double(), TWO, ROOT)


def test_the_constant_of_an_unnormalised_density_is_found():
    """p = 5 N(0, 1.2^2) against q = N(0, 1): a = -log 5."""
    p, q = torch.distributions.Normal(0.0, 1.2), torch.distributions.Normal(0.0, 1.0)
    torch.manual_seed(1)
    paths, draws = p.sample((20_000,)).double(), q.sample((20_000,)).double()
    ratio = lambda x: p.log_prob(x) - q.log_prob(x) + np.log(5)  # noqa: E731
    ones = torch.ones(20_000, 1).double()
    a = bridge(ratio(paths), ratio(draws), ones, ones)
    assert abs(float(a) + np.log(5)) < 0.01  # Bennett's standard error is about 0.002 here


def test_separated_modes_get_the_weights_that_paths_have():
    """With u = 0 on modes of weights 0.2, 0.8 for paths and 0.5, 0.5 for draws: a = log 0.4, log 1.6."""
    truth, q = mixture(0.2), mixture(0.5)
    paths, draws = (m.draw(40_000, torch.Generator().manual_seed(k)) for k, m in enumerate((truth, q)))
    nothing = torch.zeros(40_000).double()
    a = bridge(nothing, nothing, q.shares(paths), q.shares(draws))
    assert np.abs(a.numpy() - np.log([0.4, 1.6])).max() < 0.05  # counts of 8000 and 20000: 0.013
    x = torch.linspace(-5, 5, 50, dtype=torch.float64)[:, None]
    found = q.log_values(x) + q.shares(x) @ a
    assert float((found - truth.log_values(x))[x[:, 0].abs() > 1].abs().max()) < 0.06


def test_a_component_that_paths_never_meet_does_no_harm():
    q = mixture(0.5)
    paths, draws = mixture(0.999999).draw(2000, torch.Generator()), q.draw(2000, torch.Generator())
    a = bridge(torch.zeros(2000).double(), torch.zeros(2000).double(), q.shares(paths), q.shares(draws))
    assert bool(torch.isfinite(a).all())
    assert abs(float(a[0]) - np.log(2)) < 0.1


def test_the_standard_error_of_a_mass_is_that_of_repetitions():
    """w = exp(z / 2 - 1/8 + log 3): mean 3."""
    found = []
    for k in range(300):
        z = torch.randn(2000, generator=torch.Generator().manual_seed(k)).double()
        found.append(importance(z / 2 - 1 / 8 + np.log(3)))
    off = np.array([(mass.value - 3) / mass.stderr for mass in found])
    assert abs(off.mean()) < 0.25
    assert 0.85 < off.std() < 1.15
    assert 0.93 < (np.abs(off) < 1.96).mean() < 0.98


def test_a_mass_reads_well():
    assert str(Mass(0.99999, 0.00012)) == "0.99999 +- 0.0001"

"""The strong form: its residual against the operators, the density that moves, and laws that are simulated again."""

import json
import math

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.data.snapshots import Snapshots
from pdekit.errors import DataError, InputError, UnsupportedError
from pdekit.fitting.display.snapshot_figures import snapshot_figures
from pdekit.fitting.snapshots.divergence import knn_divergence
from pdekit.fitting.snapshots.matched import MatchedSDE
from pdekit.fitting.snapshots.matching import derivatives, match, residual_of
from pdekit.fitting.snapshots.moving import fitted_density
from pdekit.fitting.snapshots.options import SnapshotMatching
from pdekit.nets import HollowNet
from pdekit.operators import fokker_planck_residual
from pdekit.sde import SDE


def _relaxing(dim, n=600, times=(0.0, 0.2, 0.4, 0.7, 1.0), s=0.7, seed=0):
    """Exact samples of dx_i = -x_i dt + s dW_i from N(2, .4^2)."""
    rng, found = np.random.default_rng(seed), []
    for t in times:
        e = math.exp(-t)
        var = 0.16 * e * e + s * s * (1 - e * e) / 2
        found.append(2 * e + math.sqrt(var) * rng.normal(size=(n, dim)))
    return Snapshots(times, found)


def _quiet(what, value):
    pass


@pytest.fixture(scope="module")
def density():
    return fitted_density(_relaxing(2), 2, 0, _quiet)


def test_density_at_every_time_has_mass_one(density):
    x = torch.linspace(-3, 6, 181, dtype=torch.float64)
    grid = torch.cartesian_prod(x, x)
    for t in (0.0, 0.3, 1.0):
        p = density.log_density(torch.full((len(grid),), t, dtype=torch.float64), grid).exp()
        assert float(p.sum()) * 0.05**2 == pytest.approx(1.0, abs=1e-3)


def test_density_follows_the_mean(density):
    drawn = density.sample(torch.full((4000,), 0.5, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), torch.full((2,), 2 * math.exp(-0.5)).double(), atol=0.08)


@pytest.mark.parametrize("state", [False, True])
def test_residual_is_that_of_the_operators(density, state):
    """An equation in the units of the data, through `fokker_planck_residual`, against the scaled form of training."""
    span, scale, center = 2.0, density.family.scale, density.family.center
    drift, q = HollowNet(2, seed=0).double(), HollowNet(2, seed=1).double()
    log_noise = torch.tensor([-0.3, 0.2]).double()

    def noise(t, x):
        z = (x - center) / scale
        return (log_noise + (q(z) if state else torch.zeros_like(z))).exp() * scale / span**0.5

    sde = SDE(lambda t, x: drift((x - center) / scale) * scale / span, noise, dim=2)
    t, x = torch.tensor([0.1, 0.5, 0.9]).double(), torch.tensor([[1.5, 2.0], [1.0, 0.3], [0.2, 1.1]]).double()
    points = derivatives(density, t, x, span)
    found, _ = residual_of(points, drift, q if state else None, log_noise)
    log_p = lambda at, y: density.log_density(at.expand(len(y)), y)  # noqa: E731
    expected = [fokker_planck_residual(log_p, sde)(t[i], x[i : i + 1])[0] * span for i in range(3)]
    assert torch.allclose(found, torch.stack(expected), rtol=1e-6, atol=1e-8)


def test_laws_are_simulated_again_and_the_model_is_kept():
    data = _relaxing(1, n=1500)
    found = match(SnapshotMatching(components=1, steps=150, batch=256), data, seed=1)
    generator = torch.Generator().manual_seed(0)
    x = data.samples[0].clone()
    with torch.no_grad():
        for _ in range(100):
            x = x + 0.01 * found.model.drift(0, x)
            x = x + 0.1 * found.model.sizes(x) * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    assert knn_divergence(data.samples[-1], x) < 0.05
    assert found.residual < 0.3
    assert {flag.title for flag in found.flags} >= {"Not the only drift with these laws"}
    record, arrays = found.model.to_record()
    again = MatchedSDE.from_record(json.loads(json.dumps(record)), arrays)
    assert torch.equal(again.drift(0, x), found.model.drift(0, x))
    assert torch.equal(again.noise(0, x), found.model.noise(0, x))
    with pytest.raises(InputError, match="damaged"):
        MatchedSDE.from_record(record, {})


def test_settled_laws_need_the_noise():
    settled = Snapshots([0.0, 1.0, 2.0], list(np.random.default_rng(0).normal(size=(3, 300))))
    with pytest.raises(DataError, match="diffusion"):
        match(SnapshotMatching(), settled)
    found = match(SnapshotMatching(diffusion=1.0, components=1, steps=120, batch=256), settled)
    x = torch.tensor([[-1.0], [1.0]]).double()
    # dx = f dt + dW with the law N(0, 1) has f = -x / 2.
    assert torch.allclose(found.model.drift(0, x), -0.5 * x, atol=0.2)
    assert torch.allclose(found.model.sizes(x), torch.ones(2, 1).double())


@pytest.mark.parametrize(
    "options",
    [{"diffusion": 0.0}, {"noise": "full"}, {"steps": 0}, {"rate": 0.0}, {"smallness": -1.0}, {"components": 1.5}],
)
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        SnapshotMatching(**options)


def test_as_many_diffusions_as_states():
    with pytest.raises(InputError, match="one for each of 1"):
        match(SnapshotMatching(diffusion=(1.0, 2.0)), _relaxing(1, n=50))


def test_matching_is_a_way_of_fit(tmp_path):
    data = _relaxing(2, n=300)
    fit = pk.fit(pk.SnapshotMatching(components=1, hidden=8, steps=40, batch=64), data, seed=1)
    assert (fit.method, fit.loglik, fit.bic, dict(fit.params)) == ("matching", None, None, {})
    assert "Not the only drift with these laws" in fit.summary()
    assert "The search converged" not in fit.summary()  # nothing was maximised
    fit.save(tmp_path / "fit")
    again = pk.Fit.load(tmp_path / "fit")
    assert again.to_dataframe().equals(fit.to_dataframe())
    assert [flag.title for flag in again.flags] == [flag.title for flag in fit.flags]
    titles = [figure.title for figure in snapshot_figures(fit)]
    assert titles == [
        "Snapshots of x1",
        "Snapshots of x2",
        "Drift and noise of x1",
        "Drift and noise of x2",
        "Phase plane",
    ]
    with pytest.raises(UnsupportedError, match="not paired"):
        fit.simulate()
    with pytest.raises(InputError, match="SnapshotMatching"):
        pk.fit(pk.KramersMoyal(), data)
    with pytest.raises(InputError, match="takes Snapshots"):
        pk.fit(pk.SnapshotMatching(), pk.Trajectories.from_arrays([0.0, 1.0, 2.0], [1.0, 2.0, 1.0]))

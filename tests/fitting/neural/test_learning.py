"""Neural fits from end to end, on small data with small networks."""

import json

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, NumericalError
from pdekit.fitting.neural import NetworkSDE, NeuralSDE, TransitionStream, train
from pdekit.fitting.sparse.library import Library
from pdekit.training import Training

_SMALL = {"hidden": (8,), "ensemble": 2, "training": Training(steps=20, batch=128)}


def test_a_double_well_at_a_long_step_is_polished_by_the_fokker_planck_likelihood(double_well_path):
    data = double_well_path(n=3000, dt=0.5, seed=1, substeps=20)
    learned = train(NeuralSDE(**{**_SMALL, "ensemble": 1}), data, seed=1)
    x = torch.linspace(-1.2, 1.2, 25, dtype=torch.float64)[:, None]
    density = torch.exp(-4 * (x**4 / 2 - x**2))
    error = (learned.drift(0.0, x) - (x - x**3)).square() * density
    # The bound of a k-coefficient drift is 5 to 10 per cent here; Euler steps miss by more than 50.
    assert float((error.sum() / ((x - x**3).square() * density).sum()).sqrt()) < 0.25
    torch.testing.assert_close(learned.noise(0.0, x)[:, 0, 0].mean(), torch.tensor(0.5).double(), rtol=0.05, atol=0.0)
    assert dict(learned.details)["Likelihood of the training"] == "Fokker-Planck on a grid"
    assert [f for f in learned.flags if f.title == "Euler steps would be biased; they were not used"]
    errors = learned.drift_stderr(x)
    assert bool(((error / density).sqrt() < 4 * errors).all())
    formula = learned.to_symbolic(Library.polynomial(3))
    assert formula.state_names == ("x",)
    assert set(formula.defaults) == set(formula.param_names)


def test_correlated_noise_is_kept_and_comes_back(planar_data):
    learned = train(NeuralSDE(noise="cholesky", **_SMALL), planar_data)
    x = planar_data.values[0][::100]
    root = torch.tensor([[0.5, 0.0], [0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(learned.noise(0.0, x).mean(0), root, rtol=0.0, atol=0.05)
    assert bool((learned.noise(0.0, x).diagonal(dim1=-2, dim2=-1) > 0).all())
    record, arrays = learned.to_record()
    again = NetworkSDE.from_record(json.loads(json.dumps(record, allow_nan=False)), arrays)
    for name in ("drift", "noise"):
        torch.testing.assert_close(getattr(again, name)(0.0, x), getattr(learned, name)(0.0, x), rtol=0, atol=0)
    for name in ("drift_stderr", "diffusion_stderr"):
        torch.testing.assert_close(getattr(again, name)(x), getattr(learned, name)(x), rtol=0, atol=0)
        assert bool((getattr(learned, name)(x) > 0).all())
    assert again.details == learned.details
    assert again.flags == learned.flags
    np.testing.assert_array_equal(again.history.gains, learned.history.gains)
    formula = learned.to_symbolic()
    assert formula.noise_type == "additive"
    difference = formula.at(**formula.defaults).drift(0.0, x) - learned.drift(0.0, x)
    # A term is left out where what it would explain is within the learned function's own errors.
    assert float(difference.square().mean().sqrt()) < 2 * float(learned.drift_stderr(x).square().mean().sqrt())


def test_correlated_noise_that_was_not_asked_for_is_flagged(planar_data):
    learned = train(NeuralSDE(**{**_SMALL, "ensemble": 1}), planar_data)
    assert [f for f in learned.flags if "correlated" in f.title]
    assert learned.diagonal
    assert float(learned.noise(0.0, planar_data.values[0][:5])[:, 1, 0].abs().max()) == 0.0


def test_a_linear_drift_is_said_to_be_linear(ornstein_uhlenbeck_path):
    learned = train(NeuralSDE(**_SMALL), ornstein_uhlenbeck_path(n=2000, dt=0.05))
    assert [f for f in learned.flags if f.title == "Not improved over the linear warm start"]


def test_training_pays_where_the_untrained_units_are_too_few():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, size=(2000, 3, 2))
    for k in range(2):
        drift = 3.0 * np.sin(2.0 * x[:, k, :1] + 2.0 * x[:, k, 1:]) * np.array([1.0, -1.0])
        x[:, k + 1] = x[:, k] + 0.05 * drift + 0.1 * 0.05**0.5 * rng.standard_normal((2000, 2))
    data = Trajectories.from_arrays([np.arange(3) * 0.05] * 2000, [*x])
    options = NeuralSDE(hidden=(8,), ensemble=1, noise="constant", training=Training(steps=400, batch=512, rate=0.01))
    learned = train(options, data)
    assert learned.history.chosen > 0
    assert learned.history.gains[learned.history.chosen] > 5 * learned.history.errors[learned.history.chosen]


@pytest.mark.parametrize("network", ["mlp", "hollow"])
def test_many_states_of_different_scale(network):
    rng = np.random.default_rng(0)
    d, n = 6, 600
    scale = 10.0 ** np.linspace(-6, 6, d)
    x = np.zeros((n + 1, d))
    for k in range(n):
        x[k + 1] = x[k] - 0.05 * (x[k] - 0.5 * np.roll(x[k], 1)) + 0.05**0.5 * rng.standard_normal(d)
    data = Trajectories.from_arrays(np.arange(n + 1) * 0.05, 100 * scale + x * scale)
    learned = train(NeuralSDE(network=network, **{**_SMALL, "ensemble": 1}), data)
    at = data.values[0][::50]
    g = learned.noise(0.0, at).diagonal(dim1=-2, dim2=-1) / torch.from_numpy(scale)
    torch.testing.assert_close(g, torch.ones_like(g), rtol=0.25, atol=0.0)
    assert bool(torch.isfinite(learned.drift(0.0, 10 * at)).all())


def test_coefficients_that_depend_on_time():
    rng = np.random.default_rng(0)
    t = np.arange(1601) * 0.05
    x = np.zeros(1601)
    for k in range(1600):
        x[k + 1] = x[k] + 0.05 * (2.0 * (t[k] - 40.0) / 40.0 - x[k]) + 0.3 * 0.05**0.5 * rng.standard_normal()
    options = NeuralSDE(time=True, noise="constant", **{**_SMALL, "ensemble": 1})
    learned = train(options, Trajectories.from_arrays(t, x))
    zero = torch.zeros(3, 1, dtype=torch.float64)
    early, late = learned.drift(8.0, zero), learned.drift(torch.full((3, 1), 72.0), zero)
    torch.testing.assert_close(early, torch.full_like(early, -1.6), rtol=0.0, atol=0.4)
    torch.testing.assert_close(late, torch.full_like(late, 1.6), rtol=0.0, atol=0.4)
    assert not learned.autonomous


def test_beyond_the_data_the_drift_pulls_back_and_the_noise_stays(double_well_data):
    learned = train(NeuralSDE(**_SMALL), double_well_data())
    far = torch.tensor([[-50.0], [50.0]], dtype=torch.float64)
    f = learned.drift(0.0, far)
    assert float(f[0]) > 0 > float(f[1])
    edge = torch.tensor([[learned.reach[0][0]], [learned.reach[0][1]]], dtype=torch.float64)
    torch.testing.assert_close(learned.noise(0.0, far), learned.noise(0.0, edge))


def test_states_may_have_any_batch_shape_and_dtype(double_well_data):
    learned = train(NeuralSDE(**{**_SMALL, "ensemble": 1}), double_well_data())
    x = torch.linspace(-1, 1, 6).view(2, 3, 1)
    assert learned.drift(0.0, x).shape == (2, 3, 1)
    assert learned.noise(0.0, x).shape == (2, 3, 1, 1)
    assert learned.drift(0.0, x).dtype == torch.float32
    with pytest.raises(InputError, match="shape"):
        learned.drift(0.0, torch.zeros(4, 2))
    at = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(learned.drift(0.0, at).sum(), at)
    h = 1e-5
    expected = (learned.drift(0.0, at.detach() + h) - learned.drift(0.0, at.detach() - h)) / (2 * h)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


def test_a_stream_gives_what_the_same_data_in_memory_give(tmp_path, double_well_data):
    data = double_well_data()
    np.save(tmp_path / "t.npy", data.times[0].numpy())
    np.save(tmp_path / "x.npy", data.values[0].numpy())
    stream = TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "x.npy")
    one, other = (train(NeuralSDE(**_SMALL), given) for given in (data, stream))
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    # Sums over pieces of another size differ by rounding, which few steps hardly amplify.
    torch.testing.assert_close(one.drift(0.0, x), other.drift(0.0, x), rtol=1e-3, atol=1e-4)


def test_seeds_are_everything_that_is_random(double_well_data):
    data, x = double_well_data(), torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    first, again, other = (train(NeuralSDE(**_SMALL), data, seed=s).drift(0.0, x) for s in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert bool((first != other).any())


def test_what_is_refused(double_well_data):
    with pytest.raises(DataError, match="needs at least"):
        train(NeuralSDE(), double_well_data(n=60))
    with pytest.raises(InputError, match="NeuralSDE"):
        train("mlp", double_well_data(n=200))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="TransitionStream"):
        train(NeuralSDE(), torch.zeros(4))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed"):
        train(NeuralSDE(), double_well_data(n=200), seed=-1)
    learned = train(NeuralSDE(**{**_SMALL, "ensemble": 1}), double_well_data(n=300))
    with pytest.raises(InputError, match="Library"):
        learned.to_symbolic("x**2")  # type: ignore[arg-type]
    record, arrays = learned.to_record()
    with pytest.raises(InputError, match="incomplete"):
        NetworkSDE.from_record({**record, "weight": None}, arrays)
    arrays.pop("states")
    with pytest.raises(InputError, match="incomplete"):
        NetworkSDE.from_record(record, arrays)


def test_a_training_that_runs_away_says_so(double_well_data):
    with pytest.raises(NumericalError, match="diverged"):
        train(NeuralSDE(**{**_SMALL, "training": Training(steps=4000, rate=1e200)}), double_well_data())


def test_progress_grows_to_the_end(double_well_data):
    told = []
    train(NeuralSDE(**_SMALL), double_well_data(), progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] <= shares[-1] <= 1.0
    assert all(isinstance(what, str) for what, _ in told)

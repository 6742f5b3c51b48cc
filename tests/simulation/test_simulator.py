import math

import numpy as np
import pytest
import torch

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, Heun, Milstein, StrongOrder15, simulate

INF = math.inf


def constant(value):
    return lambda t, x: torch.full_like(x, value)


def ornstein_uhlenbeck(**options):
    return SDE(lambda t, x: -x, constant(0.5), dim=1, separable=True, **options)


def rotating(noise_type="general"):
    """Two states, three Brownian motions, noise that mixes them."""
    matrix = torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.3, -0.1]], dtype=torch.float64)
    return SDE(
        lambda t, x: torch.stack([x[..., 1], -x[..., 0]], -1),
        lambda t, x: matrix.to(x).expand(*x.shape[:-1], 2, 3),
        dim=2,
        noise_dim=3,
        noise_type=noise_type,
    )


@pytest.mark.parametrize("scheme", [None, EulerMaruyama(), Milstein(), StrongOrder15()], ids=str)
def test_moments_of_an_ornstein_uhlenbeck_process(scheme):
    n, times = 20_000, [0.0, 0.5, 1.0, 3.0]
    run = simulate(ornstein_uhlenbeck(), 1.0, times, paths=n, scheme=scheme, seed=5, dt=0.01)
    t = np.array(times)
    mean, variance = np.exp(-t), 0.125 * (1 - np.exp(-2 * t))
    values = run.values[..., 0].numpy()
    # Four standard errors, plus the weak error of Euler: h/2 relative to each rate, here below .01.
    np.testing.assert_array_less(np.abs(values.mean(1) - mean), 4 * np.sqrt(variance / n) + 0.005 * mean + 1e-12)
    np.testing.assert_array_less(np.abs(values.var(1) - variance), (4 * math.sqrt(2 / n) + 0.01) * variance + 1e-12)


def test_general_noise_has_the_covariance_it_should():
    n, g = 20_000, torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.3, -0.1]], dtype=torch.float64)
    run = simulate(rotating(), [0.0, 0.0], [0.0, 1.0], paths=n, dt=0.01, seed=1)
    # Cov = int_0^1 R(s) G G^T R(s)^T ds with R a rotation.
    angles = torch.linspace(0, 1, 2001, dtype=torch.float64)
    rotation = torch.stack([angles.cos(), angles.sin(), -angles.sin(), angles.cos()], -1).reshape(-1, 2, 2)
    exact = torch.trapezoid(rotation @ (g @ g.T) @ rotation.mT, angles, dim=0)
    # Four standard errors of a covariance, and Euler's h on each rate.
    torch.testing.assert_close(run.values[-1].T.cov(), exact, rtol=0, atol=(4 / math.sqrt(n) + 0.01) * 0.1)


@pytest.mark.parametrize(
    ("x0", "paths", "shape"),
    [
        (1.0, None, (1, 1)),
        (1, 7, (7, 1)),
        ([0.5], 3, (3, 1)),
        (np.ones((4, 1)), None, (4, 1)),
        (torch.ones(4, 1), 4, (4, 1)),
        ([[0.5]], 6, (6, 1)),
    ],
)
def test_shapes_of_the_start(x0, paths, shape):
    run = simulate(ornstein_uhlenbeck(), x0, [0.0, 0.1], paths=paths, dt=0.1, seed=0)
    assert run.values.shape == (2, *shape)
    assert torch.equal(run.values[0], torch.as_tensor(x0, dtype=run.values.dtype).reshape(-1, 1).expand(shape))


def test_dtype_follows_the_start():
    for dtype in (torch.float32, torch.float64):
        run = simulate(ornstein_uhlenbeck(), torch.ones(2, 1, dtype=dtype), [0.0, 1.0], seed=0, dt=0.1)
        assert run.values.dtype == dtype
        assert run.times.dtype == torch.float64
    assert simulate(ornstein_uhlenbeck(), 1, [0, 1], seed=0, dt=0.1).values.dtype == torch.float64


def test_the_same_seed_gives_the_same_paths_with_any_number_of_threads():
    def run(**options):
        return simulate(ornstein_uhlenbeck(), 1.0, [0.0, 0.5, 1.0], paths=50_000, dt=0.1, **options)

    threads, first = torch.get_num_threads(), run(seed=3)
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(run(seed=3).values, first.values)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(run(seed=4).values, first.values)


def test_output_times_do_not_change_the_paths():
    fine = simulate(ornstein_uhlenbeck(), 1.0, np.linspace(0, 2, 201), paths=70, dt=0.01, seed=1)
    coarse = simulate(ornstein_uhlenbeck(), 1.0, [0.0, 1.0, 2.0], paths=70, dt=0.01, seed=1)
    # The same noise and steps; only the lengths of the steps round differently.
    torch.testing.assert_close(fine.values[[0, 100, 200]], coarse.values, rtol=1e-12, atol=1e-12)


def test_a_run_from_a_generator_is_repeated_by_its_seed():
    generator = torch.Generator().manual_seed(8)
    first, second = (simulate(ornstein_uhlenbeck(), 1.0, [0, 1], dt=0.1, generator=generator) for _ in range(2))
    assert first.seed != second.seed
    again = simulate(ornstein_uhlenbeck(), 1.0, [0, 1], dt=0.1, seed=second.seed)
    assert torch.equal(again.values, second.values)


def test_without_a_seed_the_global_generator_decides():
    state = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        first = simulate(ornstein_uhlenbeck(), 1.0, [0, 1], dt=0.1)
        torch.manual_seed(1)
        assert simulate(ornstein_uhlenbeck(), 1.0, [0, 1], dt=0.1).seed == first.seed
    finally:
        torch.set_rng_state(state)


def test_a_seed_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    simulate(ornstein_uhlenbeck(), 1.0, [0, 1], seed=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scheme", [EulerMaruyama(), Milstein(), StrongOrder15()], ids=str)
def test_gradients_of_geometric_brownian_motion_path_by_path(scheme):
    mu = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x0 = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    sde = SDE(lambda t, x: mu * x, lambda t, x: sigma * x, dim=1, separable=True)
    end = simulate(sde, x0, [0.0, 0.5, 1.0], scheme=scheme, dt=1e-3, seed=2).values[-1, 0, 0]
    d_mu, d_sigma, d_x0 = torch.autograd.grad(end, (mu, sigma, x0))
    # X = x0 exp((mu - sigma^2/2) T + sigma W): W follows from the path, and with it every derivative.
    x = end.detach()
    w = (torch.log(x / 2) - 0.3 + 0.08) / 0.4
    slack = 0.05 if scheme.order < 1 else 2e-3
    assert d_mu.item() == pytest.approx(x.item(), rel=slack)
    assert d_x0.item() == pytest.approx(x.item() / 2, rel=1e-12)
    assert d_sigma.item() == pytest.approx((x * (w - 0.4)).item(), rel=slack, abs=slack)


def test_gradients_agree_with_differences_through_reflection():
    a = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)

    def end(a):
        sde = SDE(lambda t, x: a.expand_as(x), constant(0.5), dim=1, separable=True, domain=((0.0, INF),))
        return simulate(sde, 0.3, [0.0, 1.0], paths=50, dt=0.05, seed=0).values[-1].sum()

    assert torch.autograd.gradcheck(end, (a,))


def test_nothing_is_recorded_without_need():
    a = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    sde = SDE(lambda t, x: -a * x, constant(0.5), dim=1, separable=True)
    assert simulate(sde, 1.0, [0, 1], dt=0.1, seed=0).values.requires_grad
    with torch.no_grad():
        assert not simulate(sde, 1.0, [0, 1], dt=0.1, seed=0).values.requires_grad
    assert not simulate(ornstein_uhlenbeck(), 1.0, [0, 1], dt=0.1, seed=0).values.requires_grad


def test_recorded_and_unrecorded_runs_agree():
    x0 = torch.ones(3, 1, dtype=torch.float64, requires_grad=True)
    kept = simulate(ornstein_uhlenbeck(), x0, np.linspace(0, 1, 11), seed=0, dt=0.02)
    free = simulate(ornstein_uhlenbeck(), x0.detach(), np.linspace(0, 1, 11), seed=0, dt=0.02)
    assert torch.equal(kept.values, free.values)


@pytest.mark.parametrize(
    ("sde", "scheme"),
    [
        (ornstein_uhlenbeck(), StrongOrder15()),
        (ornstein_uhlenbeck(domain=((0.0, INF),)), Milstein()),
        (SDE(lambda t, x: -x, constant(0.5), dim=1), EulerMaruyama()),
        (rotating(), EulerMaruyama()),
        (ornstein_uhlenbeck(sde_type="stratonovich"), Heun()),
    ],
)
def test_the_default_scheme_is_the_best_that_the_noise_allows(sde, scheme):
    run = simulate(sde, [1.0] * sde.dim, [0.0, 0.1], seed=0)
    assert run.scheme == repr(scheme)


def test_time_is_what_the_coefficients_see():
    seen = []

    def f(t, x):
        seen.append((float(t), t.dtype))
        return torch.ones_like(x) * t

    sde = SDE(f, constant(0.0), dim=1)
    run = simulate(
        sde, torch.zeros(1, 1, dtype=torch.float32), [1.0, 1.5, 2.0], dt=0.25, scheme=EulerMaruyama(), seed=0
    )
    assert [t for t, _ in seen[-4:]] == [1.0, 1.25, 1.5, 1.75]
    assert {dtype for _, dtype in seen} == {torch.float32}
    # Euler's sum of h t: .25 (1 + 1.25) and .25 (1.5 + 1.75) more.
    np.testing.assert_allclose(run.values.flatten(), [0, 0.5625, 1.375], rtol=1e-7)


def test_steps_divide_every_interval_and_none_is_longer_than_dt():
    run = simulate(ornstein_uhlenbeck(), 1.0, [0.0, 0.1, 1.1, 1.15], dt=0.3, seed=0)
    assert run.dt == pytest.approx(0.25)
    assert simulate(ornstein_uhlenbeck(), 1.0, np.arange(0, 50) * 0.1, dt=0.1, seed=0).dt == pytest.approx(0.1)


def test_progress_is_reported_to_the_end():
    calls = []
    sde = SDE(lambda t, x: -x, constant(0.5), dim=1)
    simulate(sde, 1.0, [0, 50], dt=0.01, seed=0, progress=lambda *call: calls.append(call))
    assert calls[-1] == (5000, 5000)
    assert len(calls) > 1


def test_an_explosion_names_time_path_and_state():
    sde = SDE(lambda t, x: x**3, constant(0.1), dim=1, separable=True, names=("height",))
    x0 = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    with pytest.raises(NumericalError, match=r"height of path 1 became .* at t=.* with step 0\.1 .*smaller dt"):
        simulate(sde, x0, [0.0, 10.0], dt=0.1, scheme=EulerMaruyama(), seed=0)


def test_nan_never_comes_back():
    sde = SDE(lambda t, x: -torch.sqrt(x), constant(0.5), dim=1)
    with pytest.raises(NumericalError, match="became nan"):
        simulate(sde, 0.1, [0.0, 10.0], dt=0.1, seed=0)


BAD = {
    "one time": ({"times": [0.0]}, "at least one output time"),
    "two-dimensional times": ({"times": [[0.0, 1.0]]}, "one dimension"),
    "repeated time": ({"times": [0.0, 1.0, 1.0]}, r"times\[2\] = 1 follows 1"),
    "infinite time": ({"times": [0.0, INF]}, "entry 1"),
    "words for times": ({"times": ["a", "b"]}, "times must be numbers"),
    "too many states": ({"x0": [1.0, 2.0]}, r"x0\[:, None\]"),
    "words for x0": ({"x0": "a"}, "x0 must be numbers"),
    "infinite start": ({"x0": INF}, "outside the domain"),
    "rows and paths": ({"x0": torch.ones(3, 1), "paths": 4}, "3 rows but paths=4"),
    "no paths": ({"paths": 0}, "positive integer"),
    "negative dt": ({"dt": -0.1}, "positive number"),
    "tiny dt": ({"dt": 1e-13}, "larger dt"),
    "negative seed": ({"seed": -1}, "seed must be a whole number from 0"),
    "seed and generator": ({"generator": torch.Generator()}, "not both"),
    "boundary": ({"boundary": "stop"}, "boundary must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_in_plain_words(case):
    options, message = BAD[case]
    arguments = {"x0": 1.0, "times": [0.0, 1.0], "seed": 0} | options
    with pytest.raises(InputError, match=message):
        simulate(ornstein_uhlenbeck(), **arguments)


def test_a_start_outside_the_domain_is_refused():
    with pytest.raises(InputError, match=r"x of path 1 is -1, outside the domain \(0, inf\)"):
        simulate(ornstein_uhlenbeck(domain=((0.0, INF),)), torch.tensor([[1.0], [-1.0]]), [0.0, 1.0])


@pytest.mark.parametrize("scheme", [Milstein(), StrongOrder15()], ids=str)
def test_schemes_for_separable_noise_refuse_other_noise_by_name(scheme):
    coupled = SDE(lambda t, x: -x, lambda t, x: 0.1 * x.flip(-1), dim=2)
    with pytest.raises(UnsupportedError, match=rf"{type(scheme).__name__} .*separable.* EulerMaruyama"):
        simulate(coupled, [1.0, 1.0], [0.0, 1.0], scheme=scheme, dt=0.1)
    with pytest.raises(UnsupportedError, match="general noise"):
        simulate(rotating(), [1.0, 1.0], [0.0, 1.0], scheme=scheme, dt=0.1)


def test_heun_refuses_an_ito_equation_unless_noise_is_additive():
    with pytest.raises(UnsupportedError, match="Stratonovich"):
        simulate(ornstein_uhlenbeck(), 1.0, [0.0, 1.0], scheme=Heun())
    run = simulate(rotating("additive"), [1.0, 0.0], [0.0, 1.0], scheme=Heun(), dt=0.1, seed=0)
    assert run.status == "success"


def test_the_likely_mistakes_are_named():
    from pdekit.errors import InputError
    from pdekit.symbolic import models

    with pytest.raises(InputError, match=r"model\.at"):
        simulate(models.cir(), 1.0, [0.0, 1.0])
    with pytest.raises(InputError, match="EulerMaruyama"):
        simulate(models.cir().at(kappa=1.0, theta=1.0, sigma=0.1), 1.0, [0.0, 1.0], scheme="euler")

"""The problems with known laws: potentials are stationary by SymPy, masses by quadrature, samplers by their moments."""

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import dblquad, quad

import pdekit as pk
from benchmarks.fokker_planck import problems, ring
from benchmarks.fokker_planck.problems import Case, Potential

SMALL = [
    pytest.param(problems.ring_potential(), id="ring"),
    pytest.param(problems.unimodal_potential(), id="unimodal"),
    pytest.param(problems.wells_potential(), id="wells"),
    pytest.param(problems.quartic_potential(4), id="quartic"),
]


@pytest.mark.parametrize("potential", SMALL)
def test_residual_is_zero(potential: Potential) -> None:
    assert (potential.q.T + potential.q).is_zero_matrix
    assert sympy.expand(potential.residual) == 0


def test_residual_of_the_quartic_law_is_zero_at_rational_states() -> None:
    potential = problems.quartic_potential(10)
    drawn = np.random.default_rng(0).integers(-9, 9, (3, 10))
    for row in drawn:
        at = {x: sympy.Rational(int(v), 4) for x, v in zip(potential.state, row, strict=True)}
        assert potential.residual.xreplace(at).doit() == 0
    assert sum(1 for v in potential.q if v != 0) == 90


def test_numbers_of_the_drift_are_those_of_the_symbols() -> None:
    potential, case = problems.wells_potential(), problems.wells()
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = np.array(
        [
            [float(f.xreplace(dict(zip(potential.state, row, strict=True)))) for f in potential.drift]
            for row in x.tolist()
        ]
    )
    # 8 eps times about 40 terms, each at most 100.
    np.testing.assert_allclose(case.problem.sde.drift(0.0, x), exact, rtol=0, atol=1e-12)


def _at_origin(case: Case) -> float:
    return float(case.log_p(torch.zeros(1, case.problem.sde.dim, dtype=torch.float64)))


def _pair_mass(potential: Potential, i: int, reach: float) -> float:
    """The integral of exp(-U) over two states, the others at zero, times exp(U) there."""
    rest = {x: 0 for k, x in enumerate(potential.state) if k not in (i, i + 1)}
    at = potential.state[i : i + 2]
    value = sympy.lambdify(at, potential.u.xreplace(rest), "math")
    zero = float(potential.u.xreplace(dict.fromkeys(potential.state, 0)))
    total, _ = dblquad(lambda y, x: np.exp(zero - value(x, y)), -reach, reach, -reach, reach, epsabs=1e-9)
    return total


@pytest.mark.parametrize("name", ["unimodal", "wells"])
def test_masses_of_pairs(name: str) -> None:
    potential, case = getattr(problems, f"{name}_potential")(), getattr(problems, name)()
    total = np.prod([_pair_mass(potential, i, 3.5) for i in (0, 2, 4)])
    assert np.exp(-_at_origin(case)) == pytest.approx(total, rel=1e-6)  # of 1.02043933 nine digits are known


def test_mass_of_the_ring() -> None:
    total = 2 * np.pi**2 * quad(lambda r: r**3 * np.exp(-ring.level(r)), 0, 4, epsabs=1e-13)[0]
    assert total == pytest.approx(ring.NORMALISER, rel=1e-11)
    assert pytest.approx(12.4222, abs=5e-5) == ring.NORMALISER
    assert np.exp(-_at_origin(problems.still_ring()) - 2) == pytest.approx(total, rel=1e-11)


def test_mass_of_the_quartic_law() -> None:
    case = problems.quartic(4)
    x = case.draw(200_000, 0)
    wide = torch.distributions.MultivariateNormal(x.mean(0), 1.5 * torch.cov(x.T))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = wide.sample((400_000,))
    weight = (case.log_p(y) - wide.log_prob(y)).exp()
    assert abs(float(weight.mean()) - 1) < 5 * float(weight.std()) / 400_000**0.5


@pytest.mark.parametrize("make", [problems.still_ring, problems.unimodal, problems.wells, lambda: problems.quartic(10)])
def test_samples_obey_the_stationary_equation(make) -> None:
    """E[L u] = 0 for u = x_i and u = x_i x_j: E f = 0 and E[f x^T + x f^T] = -2 I; and Stein's identity."""
    case, n = make(), 100_000
    x = case.draw(n, 1)
    f = case.problem.sde.drift(0.0, x)
    products = f[:, :, None] * x[:, None, :]
    turned = products + products.mT + 2 * torch.eye(x.shape[1], dtype=torch.float64)
    for values in (f, turned):
        assert (values.mean(0).abs() < 5 * values.std(0) / n**0.5).all()
    some, h = x[:20_000], 1e-5
    for i in range(x.shape[1]):
        step = h * torch.eye(x.shape[1], dtype=torch.float64)[i]
        slope = (case.log_p(some + step) - case.log_p(some - step)) / (2 * h)
        value = slope * some[:, i] + 1
        assert abs(float(value.mean())) < 5 * float(value.std()) / len(some) ** 0.5


def test_mixture_has_separated_modes_and_solves_its_equation() -> None:
    case = problems.mixture(10)
    a = case.problem.sde.drift(0.0, torch.eye(10, dtype=torch.float64)).T
    assert float((a @ a.T - a.T @ a).abs().max()) > 0.5  # not normal
    factor = case.problem.sde.diffusion(0.0, torch.zeros(1, 10, dtype=torch.float64))[0]
    start = case.problem.initial.component_distribution
    x = case.draw(64, 0)

    def log_p(t: float) -> torch.Tensor:
        later = problems.moved(a, factor, start.mean, start.covariance_matrix[0], t)
        law = problems._three(*later)
        assert t != case.time or problems.modes_apart(law) >= 3
        return law.log_prob(x.requires_grad_())

    now, h = log_p(case.time), 1e-4
    torch.testing.assert_close(now.detach(), case.log_p(x.detach()))
    slope = torch.autograd.grad(now.sum(), x, create_graph=True)[0]
    curve = torch.stack([torch.autograd.grad(s.sum(), x, retain_graph=True)[0] for s in slope.unbind(-1)], 1)
    d = 0.5 * factor @ factor.T
    right = -a.trace() - ((x @ a.T) * slope).sum(-1) + (d * (curve + slope[:, :, None] * slope[:, None])).sum((1, 2))
    left = (log_p(case.time + h) - log_p(case.time - h)) / (2 * h)
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)  # h^2 times a third derivative of about 1e3


def test_moving_ring_solves_its_equation() -> None:
    h = 1e-3
    r, cosine = np.linspace(0.5, 1.6, 23), 0.4
    turned = np.arccos(cosine)

    def p(t: float, r: np.ndarray, angle: float) -> np.ndarray:
        return np.exp(ring.harmonics(t).log_p(r, np.full_like(r, np.cos(angle))))

    def force(s: np.ndarray) -> np.ndarray:
        return -8 * s * (s**2 - 1)

    left = (p(0.1 + h, r, turned) - p(0.1 - h, r, turned)) / (2 * h)
    k = 4e-3
    up, now, down = p(0.1, r + k, turned), p(0.1, r, turned), p(0.1, r - k, turned)
    radial = ((r + k / 2) ** 3 * (up - now) - (r - k / 2) ** 3 * (now - down)) / (k**2 * r**3)
    moved = ((r + k) ** 3 * force(r + k) * up - (r - k) ** 3 * force(r - k) * down) / (2 * k * r**3)
    ahead, behind = p(0.1, r, turned + k), p(0.1, r, turned - k)
    around = (ahead - 2 * now + behind) / k**2 + 2 / np.tan(turned) * (ahead - behind) / (2 * k)
    right = radial - moved + around / r**2
    # Differences of second order: k^2 times fourth derivatives of about 1e3.
    np.testing.assert_allclose(left, right, atol=3e-3 * np.abs(right).max())


def test_moving_ring_starts_and_ends_where_it_should() -> None:
    r, cosine = np.linspace(0.1, 1.6, 40), np.full(40, 0.3)
    start = torch.distributions.MultivariateNormal(torch.tensor([ring.START, 0, 0, 0.0]), ring.WIDTH**2 * torch.eye(4))
    x = np.stack([r * 0.3, r * (1 - 0.3**2) ** 0.5, 0 * r, 0 * r], -1)
    found = ring.harmonics(1e-6).log_p(r, cosine)
    np.testing.assert_allclose(found, start.log_prob(torch.as_tensor(x).float()), atol=1e-3)  # 1e-6 times a rate of 200
    late = ring.harmonics(6.0).log_p(r, cosine)
    np.testing.assert_allclose(late, -ring.level(r) - np.log(ring.NORMALISER), atol=1e-5)


def test_moving_ring_turns_and_has_mass_one() -> None:
    case, n = problems.moving_ring(), 20_000
    x = case.draw(n, 0)
    assert x.shape == (n, 4)
    ratio = (problems.still_ring().log_p(x) - case.log_p(x)).exp()  # its mean under p is the mass of the other law
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / n**0.5
    simulated = pk.simulate(case.problem.sde, case.problem.initial.sample((4000,)), [0.0, 0.5], dt=2e-3, seed=0)
    ends = simulated.values[-1]
    scatter = (ends.var(0) / 4000 + x.var(0) / n).sqrt()
    assert ((ends.mean(0) - x.mean(0)).abs() < 5 * scatter).all()

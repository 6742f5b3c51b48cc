import pytest
import sympy as sp
import torch

from pdekit.operators import ito_drift, to_ito
from pdekit.sde import SDE

X, Y, T = sp.symbols("x y t", real=True)
POINTS = torch.tensor([[0.3, -0.7], [1.1, 0.4], [-0.5, 0.9]], dtype=torch.float64)
TIME = 0.6


def truth(drift, matrix):
    """f_i + 1/2 sum_jk G_jk d_j G_ik by SymPy, at POINTS."""
    state, m = (X, Y), matrix.shape[1]
    exact = [
        drift[i] + sum(matrix[j, k] * sp.diff(matrix[i, k], state[j]) for j in range(2) for k in range(m)) / 2
        for i in range(2)
    ]
    rows = [[float(e.subs({X: p[0], Y: p[1], T: TIME})) for e in exact] for p in POINTS.tolist()]
    return torch.tensor(rows, dtype=torch.float64)


def drift(t, x):
    return torch.stack([x[..., 1] * t, -x[..., 0] * x[..., 1]], -1)


DRIFT = (Y * T, -X * Y)

FIELDS = {
    "separable": (
        {"noise_type": "diagonal", "separable": True},
        lambda t, x: torch.stack([torch.sin(x[..., 0]) + t, x[..., 1] ** 2], -1),
        sp.diag(sp.sin(X) + T, Y**2),
    ),
    "diagonal": (
        {"noise_type": "diagonal"},
        lambda t, x: torch.stack([x[..., 0] * x[..., 1], torch.exp(x[..., 0]) + t * x[..., 1]], -1),
        sp.diag(X * Y, sp.exp(X) + T * Y),
    ),
    "scalar": (
        {"noise_type": "scalar"},
        lambda t, x: torch.stack([x[..., 1] ** 2, x[..., 0] * x[..., 1] * t], -1).unsqueeze(-1),
        sp.Matrix([Y**2, X * Y * T]),
    ),
    "general": (
        {"noise_type": "general", "noise_dim": 3},
        lambda t, x: torch.stack(
            [
                torch.stack([x[..., 0] * x[..., 1], torch.cos(x[..., 1]), t * x[..., 0]], -1),
                torch.stack([x[..., 1] ** 2, x[..., 0] ** 3, torch.exp(x[..., 0] * x[..., 1])], -1),
            ],
            -2,
        ),
        sp.Matrix([[X * Y, sp.cos(Y), T * X], [Y**2, X**3, sp.exp(X * Y)]]),
    ),
}


@pytest.fixture(params=FIELDS)
def case(request):
    options, g, matrix = FIELDS[request.param]
    return SDE(drift, g, dim=2, sde_type="stratonovich", **options), matrix


@pytest.mark.parametrize("shape", [(2,), (3, 2), (3, 1, 2)])
def test_agrees_with_sympy_for_any_batch(case, shape):
    sde, matrix = case
    x = POINTS if len(shape) > 1 else POINTS[0]
    expected = truth(DRIFT, matrix)
    expected = expected if len(shape) > 1 else expected[0]
    # A handful of products of numbers of order one: 1e-14 is some 50 eps.
    torch.testing.assert_close(ito_drift(sde)(TIME, x.reshape(shape)), expected.reshape(shape), rtol=1e-14, atol=1e-14)


def test_takes_a_time_per_row():
    # x is (3, 2) and t (3, 1): the correction stacks directions in front, where t broadcasts.
    sde = SDE(lambda t, x: 0 * x, lambda t, x: t * x * x.flip(-1), dim=2, sde_type="stratonovich")
    times = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    # g_1 d_1 g_1 / 2 with g_1 = t x y is t^2 x y^2 / 2.
    expected = times**2 * POINTS * POINTS.flip(-1) ** 2 / 2
    torch.testing.assert_close(ito_drift(sde)(times, POINTS), expected, rtol=1e-14, atol=0)


def test_is_differentiable(case):
    sde, _ = case
    x = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: ito_drift(sde)(TIME, y), (x,))


def test_works_without_recording_gradients(case):
    sde, _ = case
    with torch.no_grad():
        assert not ito_drift(sde)(TIME, POINTS).requires_grad


def test_reaches_parameters():
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    sde = SDE(lambda t, x: 0 * x, lambda t, x: a * x, dim=1, sde_type="stratonovich")
    (grad,) = torch.autograd.grad(ito_drift(sde)(0.0, torch.tensor([[2.0]], dtype=torch.float64)).sum(), a)
    # The drift is a^2 x / 2, its derivative a x.
    assert grad.item() == pytest.approx(1.4, rel=1e-14)


def test_ito_and_additive_noise_need_no_correction():
    ito = SDE(drift, lambda t, x: x, dim=2)
    assert ito_drift(ito) is drift
    assert to_ito(ito) is ito
    additive = SDE(drift, lambda t, x: torch.ones(*x.shape, 2), dim=2, noise_type="additive", sde_type="stratonovich")
    assert ito_drift(additive) is drift
    assert to_ito(additive).sde_type == "ito"


def test_to_ito_keeps_the_rest(case):
    sde, _ = case
    converted = to_ito(sde)
    assert converted.sde_type == "ito"
    assert (converted.noise_type, converted.separable, converted.noise_dim) == (
        sde.noise_type,
        sde.separable,
        sde.noise_dim,
    )
    torch.testing.assert_close(converted.drift(TIME, POINTS), ito_drift(sde)(TIME, POINTS), rtol=0, atol=0)

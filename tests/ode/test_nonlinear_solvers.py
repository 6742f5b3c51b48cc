"""Nonlinear solvers: by themselves and inside methods."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pdekit as pk
from pdekit.errors import ConvergenceError, DataError, InputError
from pdekit.nets import HollowNet
from pdekit.ode import (
    AdamsBashforthMoulton,
    Anderson,
    Fixed,
    Functional,
    ImplicitEuler,
    JacobiNewton,
    Kvaerno3,
    Kvaerno5,
    Ladder,
    Newton,
    NewtonKrylov,
    RadauIIA5,
    Root,
    Solution,
    StepControl,
    autonomous,
    solve_root,
)

F64 = torch.float64
BY_DIAGONAL = [JacobiNewton(), Anderson(), NewtonKrylov()]
ALL = [*BY_DIAGONAL, Newton(), Ladder(), Ladder(dense_below=0)]


def name(x):
    return type(x).__name__


class Heat:
    """y_i'' + s sin(y_i) on n points with unit spacing: a hollow field, g_i = (y_{i-1} + y_{i+1})."""

    def __init__(self, scale, source=0.0):
        self.scale, self.source = scale, source

    def condition(self, *args):
        y = args[-1]
        pad = torch.nn.functional.pad(y, (1, 1))
        return (pad[..., :-2] + pad[..., 2:]).unsqueeze(-1)

    def transform(self, y, h):
        return self.scale * (h.squeeze(-1) - 2 * y) + self.source * torch.sin(y)

    def __call__(self, t, y):
        return self.transform(y, self.condition(y))


class HeatRoot(Heat):
    """z - Heat(z) - b."""

    def transform(self, y, h):
        return y - super().transform(y, h) - 1

    def __call__(self, y):
        return self.transform(y, self.condition(y))


def dominant(seed, n=12, samples=3):
    generator = torch.Generator().manual_seed(seed)
    off = torch.randn(samples, n, n, dtype=F64, generator=generator)
    off = 0.4 * off / off.abs().sum(-1, keepdim=True)
    b = torch.randn(samples, n, dtype=F64, generator=generator)

    def function(z):
        k = len(z)
        return z + 0.1 * torch.sin(2 * z) + (off[0] @ torch.sin(z).unsqueeze(-1)).squeeze(-1) - b[:1].expand(k, -1)

    return function, torch.zeros(samples, n, dtype=F64)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(ALL))
def test_roots_where_the_diagonal_dominates(seed, method):
    function, z0 = dominant(seed)
    root = solve_root(function, z0, method=method, rtol=1e-10, atol=1e-12)
    assert root.converged.all()
    # |F| <= |M| |error|, |M| < 1.6, and the error is below 1e-12 + 1e-10 |z| in the mean square of 12, |z| < 10.
    assert float(function(root.z).abs().max()) < 1e-8
    assert (root.counts.f > 0).all()


def test_functional_iteration_where_it_contracts():
    root = solve_root(lambda z: z - 0.5 * torch.cos(z), torch.zeros(4, 2, dtype=F64), method=Functional(most=60))
    torch.testing.assert_close(root.z, 0.5 * torch.cos(root.z), rtol=0, atol=1e-8)


def spiral(omega):
    a = torch.tensor([[-1.0, omega], [-omega, -1.0]], dtype=F64)
    return lambda t, y: y @ a.T


def test_jacobi_newton_fails_loudly_where_the_diagonal_does_not_dominate():
    y0 = torch.tensor([1.0, 0.0], dtype=F64)
    # h = .5, gamma = .26: rho = .13 * 40 / 1.13 = 4.6
    options = {"control": Fixed(0.5), "rtol": 1e-6}
    with pytest.raises(ConvergenceError, match=r"could not solve.*Ladder\(\)"):
        pk.odeint(spiral(40.0), y0, [0.0, 1.0], method=Kvaerno5(nonlinear=JacobiNewton()), **options)
    sol = pk.odeint(
        spiral(40.0), y0, [0.0, 1.0], method=Kvaerno5(nonlinear=JacobiNewton()), raise_on_failure=False, **options
    )
    assert sol.status == "not_solved"
    assert pk.odeint(spiral(40.0), y0, [0.0, 1.0], method=Kvaerno5(nonlinear=Ladder()), **options).success


def test_jacobi_newton_finds_shorter_steps_where_they_may_be_chosen():
    y0 = torch.tensor([1.0, 0.0], dtype=F64)
    sol = pk.odeint(spiral(40.0), y0, [0.0, 0.5], method=Kvaerno5(nonlinear=JacobiNewton()), rtol=1e-4)
    exact = np.exp(-0.5) * np.array([np.cos(20.0), -np.sin(20.0)])
    # Twenty radians in some hundred steps, each at 1e-4.
    assert np.abs(sol.y[-1].numpy() - exact).max() < 1e-2


def test_jacobi_newton_refuses_a_root_that_needs_more():
    turn = torch.tensor([[1.0, 3.0], [-3.0, 1.0]], dtype=F64)

    def function(z):
        return z @ turn.T - 1

    exact = torch.linalg.solve(turn, torch.ones(2, dtype=F64))
    with pytest.raises(ConvergenceError, match=r"1 of 1 roots were not found; the first is sample 0"):
        solve_root(function, torch.zeros(1, 2, dtype=F64), method=Functional(), restarts=3)
    for method in (Newton(), Ladder()):
        root = solve_root(function, torch.zeros(1, 2, dtype=F64), method=method)
        torch.testing.assert_close(root.z[0], exact, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", [NewtonKrylov(), Anderson(most=60), Ladder(dense_below=0), Newton()], ids=name)
def test_heat_by_each_solver_as_a_root(method):
    heat = HeatRoot(20.0)  # rho = 40 / 41 cos(pi / 61) = .974
    z0 = torch.zeros(2, 60, dtype=F64)
    root = solve_root(heat, z0, method=method, rtol=1e-8, atol=1e-8)
    matrix = torch.func.jacrev(heat)(z0[0])
    exact = torch.linalg.solve(matrix, torch.ones(60, dtype=F64))
    # The weighted mean square of the error is below 1: sqrt(60) 2e-8 at worst in one component.
    torch.testing.assert_close(root.z, exact.expand(2, -1), rtol=0, atol=2e-7)


@pytest.mark.parametrize("solver", [NewtonKrylov(), Anderson(), Ladder()], ids=name)
@pytest.mark.parametrize("method", [Kvaerno5, RadauIIA5], ids=lambda m: m.__name__)
def test_heat_by_each_solver_inside_methods(method, solver):
    n, heat = 60, Heat(61.0**2, source=1.0)
    y0 = torch.sin(torch.pi * torch.arange(1, n + 1, dtype=F64) / (n + 1)).expand(2, -1)
    options = {"rtol": 1e-5, "atol": 1e-7}
    sol = pk.odeint(heat, y0, [0.0, 0.1], method=method(nonlinear=solver), **options)
    truth = pk.odeint(heat, y0, [0.0, 0.1], method=method(nonlinear=Newton()), rtol=1e-9, atol=1e-11)
    # Thirty units of 1e-5 times states of .4, as elsewhere.
    torch.testing.assert_close(sol.y[-1], truth.y[-1], rtol=0, atol=1e-4)
    if not isinstance(solver, Ladder):  # whose last rung is dense for so few states
        assert (sol.counts.factorisations == 0).all()
    assert (sol.counts.diagonal > 0).all()


def coupled_pair(rho):
    a = torch.tensor([[0.0, rho], [rho, 0.0]], dtype=F64)
    b = torch.tensor([1.0, 2.0], dtype=F64)
    truth = torch.linalg.solve(torch.eye(2, dtype=F64) - a, b)
    return lambda z: z - z @ a.T - b, truth


def units(z, truth, tolerance):
    return float(((z - truth) / (tolerance * (1 + truth.abs()))).square().mean().sqrt())


@settings(deadline=None, max_examples=25)
@given(
    rho=st.sampled_from([0.9, 0.97, 0.99]),
    away=st.floats(-9, 3),
    method=st.sampled_from([Anderson(), NewtonKrylov(), Newton(), Ladder()]),
)
def test_converged_means_that_the_error_is_within_the_tolerance(rho, away, method):
    function, truth = coupled_pair(rho)
    root = solve_root(function, truth + 10**away, method=method, rtol=1e-8, atol=1e-8, raise_on_failure=False)
    assert root.converged.all()
    assert units(root.z, truth, 1e-8) <= 1


@pytest.mark.parametrize("method", [JacobiNewton(), JacobiNewton(most=500), Functional(most=500)], ids=str)
@pytest.mark.parametrize("away", [1e-3, 1.0])
def test_slow_iterations_either_arrive_or_say_that_they_did_not(method, away):
    function, truth = coupled_pair(0.99)
    root = solve_root(function, truth + away, method=method, rtol=1e-8, atol=1e-8, raise_on_failure=False)
    if root.converged:
        assert units(root.z, truth, 1e-8) <= 1
    else:
        assert bool(root.z.isnan().all())


def test_a_small_first_increment_of_a_slow_iteration_proves_nothing():
    function, truth = coupled_pair(0.99)
    root = solve_root(function, truth + 1e-5, method=JacobiNewton(), rtol=1e-8, atol=1e-8, raise_on_failure=False)
    assert not root.converged or units(root.z, truth, 1e-8) <= 1


def test_slow_contraction_inside_a_method_does_not_spoil_the_step():
    # rho of the stage is .99: h gamma k / (1 + h gamma (k + .1)).
    k = 1e4
    a = torch.tensor([[-k - 0.1, k], [k, -k - 0.1]], dtype=F64)
    y0 = torch.tensor([1.0, 2.0], dtype=F64)
    exact = torch.linalg.matrix_exp(a) @ y0
    for solver in (Anderson(), NewtonKrylov()):
        sol = pk.odeint(lambda t, y: y @ a.T, y0, [0.0, 1.0], method=Kvaerno5(nonlinear=solver), rtol=1e-4)
        torch.testing.assert_close(sol.y[-1], exact, rtol=0, atol=3e-3)  # 20 units


@pytest.mark.parametrize(
    "method", [Kvaerno5, RadauIIA5, ImplicitEuler, AdamsBashforthMoulton], ids=lambda m: m.__name__
)
def test_the_diagonal_of_a_hollow_net_is_the_cheap_one(method):
    net = HollowNet(6, time=True, seed=0).double()
    y0 = torch.randn(3, 6, dtype=F64)
    with torch.no_grad():
        sol = pk.odeint(net, y0, [0.0, 0.5], method=method(nonlinear=JacobiNewton()), rtol=1e-3, atol=1e-4)
    assert (sol.counts.diagonal > 0).all()
    filtered = method in (ImplicitEuler, RadauIIA5)  # their estimate of the error is damped by the whole matrix
    assert filtered or (sol.counts.jvp == 0).all()
    assert filtered or (sol.counts.factorisations == 0).all()


def test_autonomous_keeps_a_net_hollow():
    net = HollowNet(5, seed=1).double()
    with torch.no_grad():
        sol = pk.odeint(
            autonomous(net), torch.randn(2, 5, dtype=F64), [0, 0.3], method=Kvaerno5(nonlinear=JacobiNewton())
        )
    assert (sol.counts.diagonal > 0).all()
    assert (sol.counts.jvp == 0).all()


@pytest.mark.parametrize("solver", [JacobiNewton, Anderson, NewtonKrylov, Ladder], ids=lambda s: s.__name__)
def test_a_diagonal_in_closed_form_is_used(solver):
    calls = []

    def diagonal(t, y):
        calls.append(tuple(y.shape))
        return -50 - 3 * y**2

    def f(t, y):
        return -50 * y - y**3 + 0.1 * y.roll(1, -1)

    more = {"dense_below": 0} if solver is Ladder else {}
    method = Kvaerno5(nonlinear=solver(closed_form=diagonal, **more))
    y0 = torch.ones(2, 4, dtype=F64)
    sol = pk.odeint(f, y0, [0.0, 1.0], method=method)
    assert calls
    assert (sol.counts.diagonal > 0).all()
    truth = pk.odeint(f, y0, [0.0, 1.0], method=Kvaerno5(nonlinear=Newton()), rtol=1e-9)
    torch.testing.assert_close(sol.y[-1], truth.y[-1], rtol=0, atol=1e-7)
    root = solve_root(
        lambda z: z + z**3 - 1,
        0.7 + torch.zeros(1, 2, dtype=F64),
        method=solver(closed_form=lambda z: 1 + 3 * z**2, **more),
    )
    assert float(root.z[0, 0]) == pytest.approx(0.6823278038280193, abs=1e-8)  # the real root of z^3 + z = 1


def test_gradients_of_roots_of_both_orders():
    p = torch.tensor([2.0, 5.0], dtype=F64, requires_grad=True)
    root = solve_root(lambda z: z**2 - p, torch.full((2,), 2.0, dtype=F64), order=2, rtol=1e-12, atol=1e-13)
    first = torch.autograd.grad(root.z.sum(), p, create_graph=True)[0]
    torch.testing.assert_close(first, 0.5 * p**-0.5, rtol=1e-10, atol=0)
    second = torch.autograd.grad(first.sum(), p)[0]
    torch.testing.assert_close(second, -0.25 * p.detach() ** -1.5, rtol=1e-10, atol=0)


def test_a_root_that_is_not_there_is_nan_and_its_mates_are_right():
    # The second state stays at +-1 and says which equation is solved: z^2 = 4 or z^2 = -4.
    root = solve_root(
        lambda z: torch.stack([z[..., 0] ** 2 - 4 * z[..., 1], torch.sin(torch.pi * z[..., 1])], -1),
        torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=F64),
        raise_on_failure=False,
    )
    assert list(root.converged) == [True, False]
    assert "1 of 2 found" in repr(root)


def test_options_of_solvers_are_checked():
    with pytest.raises(InputError, match="at least 1, got 0"):
        JacobiNewton(most=0)
    with pytest.raises(InputError, match="window"):
        Anderson(window=True)
    with pytest.raises(InputError, match="nonlinear must be a solver"):
        Kvaerno5(nonlinear=Newton)
    with pytest.raises(InputError, match="accuracy must be between 0 and 1"):
        Kvaerno5(accuracy=1.0)
    with pytest.raises(InputError, match="z0 must be a tensor"):
        solve_root(lambda z: z, torch.tensor([1]))


def test_a_solver_given_as_a_class_is_refused():
    with pytest.raises(InputError, match="method"):
        solve_root(lambda z: z**2 - 2, torch.ones(1, dtype=F64), method=Newton)


@pytest.mark.parametrize("method", [Newton(), Ladder(), JacobiNewton()], ids=name)
def test_a_square_root_from_one(method):
    root = solve_root(lambda z: z**2 - 5, torch.ones(1, dtype=F64), method=method)  # slope 2: 1 -> 3 -> 1
    assert float(root.z) == pytest.approx(np.sqrt(5), rel=1e-8)


def test_an_infinite_slope_is_no_convergence():
    # y' = sqrt(4 - y): Euler's guess of the first step is 4, where the slope is infinite. y(1) = 3.75, which solves it.
    y0 = torch.tensor([3.0], dtype=F64)
    method = AdamsBashforthMoulton(nonlinear=JacobiNewton())
    sol = pk.odeint(lambda t, y: torch.sqrt(4 - y), y0, [0.0, 1.0], method=method, control=StepControl(first_step=1.0))
    assert float(sol.y[-1]) == pytest.approx(3.75, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"restarts": "a"}, "restarts must be a whole number, at least 1"),
        ({"restarts": 0}, "restarts"),
        ({"restarts": 2.0}, "restarts"),
        ({"order": 3}, "order must be 1 or 2"),
        ({"order": "1"}, "order"),
        ({"rtol": "a"}, "rtol"),
        ({"atol": np.nan}, "atol"),
        ({"rtol": True}, "rtol"),
    ],
    ids=str,
)
def test_options_of_roots_are_checked(options, match):
    with pytest.raises(InputError, match=match):
        solve_root(lambda z: z - 1, torch.zeros(1, dtype=F64), **options)


def test_options_of_roots_may_be_numbers_of_other_libraries():
    options = {"restarts": np.int64(5), "order": np.int64(2), "rtol": np.float32(1e-6), "atol": 0}
    root = solve_root(lambda z: z**2 - z, torch.full((2, 1), 3.0, dtype=F64), method=Newton(np.int64(8)), **options)
    assert root.z.flatten().tolist() == pytest.approx([1, 1])
    assert solve_root(lambda z: z, torch.zeros(1, dtype=F64), atol=0).converged  # 0 within a tolerance of 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ladder(dense_below="a"),
        lambda: Ladder(dense_below=-1),
        lambda: Ladder(dense_most=2.5),
        lambda: Ladder(patience=0),
        lambda: Newton(most="a"),
        lambda: NewtonKrylov(directions=None),
        lambda: JacobiNewton(closed_form=3),
        lambda: Ladder(closed_form="diagonal"),
    ],
)
def test_options_of_solvers_that_are_none(make):
    with pytest.raises(InputError, match=r"must be a (whole number|function)"):
        make()


@pytest.mark.parametrize(
    "z0", [torch.tensor([torch.nan], dtype=F64), torch.zeros(2, 0, dtype=F64)], ids=["nan", "none"]
)
def test_starts_of_roots_that_are_none(z0):
    with pytest.raises(InputError, match="z0"):
        solve_root(lambda z: z - 1, z0)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda z: None, "got NoneType"),
        (lambda z: z.detach().numpy(), "got ndarray"),
        (lambda z: z[..., :1], "shape"),
        (lambda t, z: z, "raises TypeError"),
    ],
)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_errors_of_roots_speak_of_their_function(function, match, batch):
    with pytest.raises(InputError, match=match) as caught:
        solve_root(function, torch.ones(*batch, 2, dtype=F64))
    assert "F(z)" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("f(t, y)", "odeint", "autonomous", "unsqueeze"))


@pytest.mark.parametrize("n", [2, 40])
def test_a_singular_jacobian_is_named(n):
    def twice(z):  # the sum and nothing else: a plane of roots
        return (z.sum(-1, keepdim=True) - 1).expand_as(z)

    with pytest.raises(ConvergenceError, match="singular"):
        solve_root(twice, torch.zeros(n, dtype=F64))
    with pytest.raises(ConvergenceError, match="Try another z0") as caught:
        solve_root(lambda z: z**2 + 1, torch.ones(1, n, dtype=F64))
    assert "singular" not in str(caught.value)


def test_an_empty_batch_of_roots():
    root = solve_root(lambda z: z - 1, torch.zeros(0, 2, dtype=F64))
    assert root.z.shape == (0, 2)
    assert repr(root).startswith("Root(0 of 0 found")


def test_a_root_comes_back_from_its_file(tmp_path):
    root = solve_root(lambda z: z**2 - 2, torch.ones(2, 3, 1, dtype=F64))
    root.save(tmp_path / "r")
    back = Root.load(tmp_path / "r")
    assert torch.equal(back.z, root.z)
    assert repr(back) == repr(root)
    assert back.converged.dtype == bool
    with pytest.raises(DataError, match="not a saved solution"):
        Solution.load(tmp_path / "r")


WRONG = [
    (lambda *a: -2.0 * a[-1], "component 0.*instead of"),
    (lambda *a: a[-1][..., :1], "shape"),
    (lambda *a: None, "got NoneType"),
    (lambda *a: 1 / 0, "raises ZeroDivisionError"),
]


@pytest.mark.parametrize("solver", [JacobiNewton, Anderson, NewtonKrylov, Ladder], ids=lambda s: s.__name__)
@pytest.mark.parametrize(("diagonal", "match"), WRONG)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_wrong_diagonal_in_closed_form_is_refused(solver, diagonal, match, batch):
    z0 = torch.ones(*batch, 3, dtype=F64)
    with pytest.raises(InputError, match=rf"(?s)closed_form.*{match}"):
        solve_root(lambda z: z + z**3 - 1, z0, method=solver(closed_form=diagonal))


def test_a_closed_form_is_checked_in_large_systems_by_some_of_its_entries():
    def function(z):
        return 3 * z - z.roll(1, -1) - 1

    def diagonal(z):
        return torch.full_like(z, 3.0)

    z0 = torch.zeros(4, 5_000, dtype=F64)
    assert solve_root(function, z0, method=JacobiNewton(most=40, closed_form=diagonal)).converged.all()
    with pytest.raises(InputError, match="closed_form"):
        solve_root(function, z0, method=JacobiNewton(closed_form=lambda z: diagonal(z) + 1e-6))


def test_a_wrong_diagonal_in_closed_form_is_refused_by_odeint():
    def f(t, y, context):
        return -context * (y - torch.cos(t)) + y.roll(1, -1)

    rate = torch.tensor([[50.0], [70.0]], dtype=F64)
    options = {"context": rate, "rtol": 1e-4}
    for diagonal, right in (
        (lambda t, y, context: -context + 0 * y, True),
        (lambda t, y, context: 0 * y - 50.0, False),
    ):
        method = Kvaerno3(nonlinear=JacobiNewton(closed_form=diagonal))
        if right:
            assert pk.odeint(f, torch.ones(2, 3, dtype=F64), [0.0, 0.1], method=method, **options).success
        else:
            with pytest.raises(InputError, match="component 0 of sample 1 it is -50 instead of -70"):
                pk.odeint(f, torch.ones(2, 3, dtype=F64), [0.0, 0.1], method=method, **options)

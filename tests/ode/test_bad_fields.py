"""Fields and options that once gave wrong numbers in silence, raw errors, or no end."""

import pytest
import torch

import pdekit as pk
from pdekit.errors import ConvergenceError, InputError, NumericalError, OperatorError, UnsupportedError
from pdekit.ode import Backsolve, Fixed, Functional, Kvaerno5, Newton, SciPy, StepControl

F64 = torch.float64
ONES = torch.ones(3, 2, dtype=F64)


def decay(t, y):
    return -y


@pytest.mark.parametrize(
    "field",
    [
        lambda t, y: -y.detach(),
        lambda t, y: torch.cat([-y[..., :1].detach(), -y[..., 1:]], -1),
        lambda t, y: torch.as_tensor(-y.detach().numpy()),
    ],
    ids=["whole", "one component", "numpy"],
)
def test_a_field_that_hides_derivatives_is_refused_where_they_are_needed(field):
    with pytest.raises(InputError, match="derivative is zero"):
        pk.odeint(field, ONES.clone().requires_grad_(), [0.0, 1.0])
    with pytest.raises(InputError, match="derivative is zero"):
        pk.odeint(field, ONES, [0.0, 1.0], method=Kvaerno5())
    assert pk.odeint(field, ONES, [0.0, 1.0]).success
    assert pk.odeint(field, ONES, [0.0, 1.0], method=Kvaerno5(nonlinear=Functional())).success


@pytest.mark.parametrize(
    "field",
    [torch.zeros_like, lambda y: torch.ones_like(y), torch.relu, lambda y: y * y.abs(), lambda y: y**3],
    ids=["zero", "constant", "kink", "flat", "cubic"],
)
def test_a_derivative_that_is_zero_is_no_hidden_one(field):
    assert pk.odeint(lambda t, y: field(y), torch.zeros(2, 2, dtype=F64, requires_grad=True), [0.0, 1.0]).success


def test_numpy_inside_a_field_is_named():
    with pytest.raises(InputError, match="torch operations"):
        pk.odeint(lambda t, y: torch.as_tensor(-y.numpy()), ONES, [0.0, 1.0], method=Kvaerno5())


@pytest.mark.parametrize("rows", [(), (3,)])
def test_a_random_field_is_refused(rows):
    y0 = torch.ones(*rows, 4, dtype=F64)
    with pytest.raises((InputError, OperatorError), match="random"):
        pk.odeint(lambda t, y: -y * torch.rand_like(y), y0, [0.0, 1.0])


def test_rows_that_begin_to_mix_on_the_way_are_refused():
    def field(t, y):
        return -y + torch.where(t > 0.5, y.mean(0), 0 * y)

    y0 = ONES * torch.arange(3.0, dtype=F64).unsqueeze(-1)
    with pytest.raises(InputError, match="alone at t ="):
        pk.odeint(field, y0, [0.0, 2.0])


def test_single_precision_that_rounds_times_says_so():
    with pytest.warns(UserWarning, match="rounded by 0.12"):
        pk.odeint(lambda t, y: torch.cos(t) * y, torch.ones(1), [1e6, 1e6 + 10])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("field", [decay, lambda t, y: torch.cos(t) * y], ids=["autonomous", "early"])
def test_single_precision_that_harms_nothing_is_silent(field):
    times = [1e6, 1e6 + 10] if field is decay else [10.0, 20.0]
    assert pk.odeint(field, torch.ones(1), times).success


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad, torch.func.jacrev])
def test_transforms_are_refused_by_name(transform):
    with pytest.raises(UnsupportedError, match=r"torch\.func"):
        transform(lambda y: pk.odeint(decay, y, [0.0, 1.0]).y[-1].sum())(ONES)


def test_a_field_that_decides_by_its_state_has_a_jacobian():
    def field(t, y):
        return -1000 * (y - 1) if float(y.detach().sum()) > 0 else -y

    y0 = torch.full((2,), 2.0, dtype=F64)
    found = pk.odeint(field, y0, [0.0, 1.0], method=Kvaerno5(nonlinear=Newton()))
    assert float((found.y[-1] - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["LSODA", "BDF", "Radau", "RK45"])
def test_scipy_ends_at_a_pole(name):
    with pytest.raises((NumericalError, ConvergenceError), match=r"at t = (0\.9999|1\.0000)"):
        pk.odeint(lambda t, y: y**2, torch.ones(1, dtype=F64), [0.0, 2.0], method=SciPy(name))


def test_scipy_heeds_step_control_and_refuses_fixed_steps():
    many = pk.odeint(decay, ONES, [0.0, 1.0], method=SciPy("RK45"), control=StepControl(max_step=0.01))
    few = pk.odeint(decay, ONES, [0.0, 1.0], method=SciPy("RK45"))
    assert (many.counts.f > 4 * few.counts.f).all()
    with pytest.raises(ConvergenceError, match="max_steps"):
        pk.odeint(decay, ONES, [0.0, 1.0], method=SciPy("RK45"), control=StepControl(max_step=0.01, max_steps=20))
    with pytest.raises(UnsupportedError, match="StepControl"):
        pk.odeint(decay, ONES, [0.0, 1.0], method=SciPy("RK45"), control=Fixed(0.1))


@pytest.mark.parametrize("name", ["RK23", "DOP853", "LSODA", "BDF"])
@pytest.mark.parametrize("end", [2.0, -2.0])
def test_scipy_gives_the_times_that_were_asked_for(name, end):
    times = torch.linspace(0, end, 7, dtype=F64)
    found = pk.odeint(decay, ONES, times, method=SciPy(name), rtol=1e-8).y
    assert torch.allclose(found, torch.exp(-times)[:, None, None] * ONES, rtol=1e-5)


def test_the_adjoint_looks_at_parameters_between_observations_too():
    named, other = (torch.tensor(2.0, dtype=F64, requires_grad=True) for _ in range(2))

    def field(t, y):
        return -(other if 0.3 < float(t) < 0.7 else named) * y

    end = pk.odeint(field, ONES[0], [0.0, 1.0], gradient=Backsolve(parameters=named)).y[-1]
    with pytest.raises(InputError, match="was not named"):
        end.sum().backward()


def test_the_adjoint_says_that_its_way_back_failed():
    rate = torch.tensor(1e3, dtype=F64, requires_grad=True)
    end = pk.odeint(lambda t, y: -rate * y, ONES[0], [0.0, 1.0], gradient=Backsolve(parameters=[rate])).y[-1]
    with pytest.raises((NumericalError, ConvergenceError), match=r"way back.*checkpoint=True"):
        end.sum().backward()


def test_parameters_of_the_adjoint_may_come_from_a_generator():
    net = torch.nn.Linear(2, 2).double()
    option = Backsolve(parameters=net.parameters())
    for _ in range(2):
        net.zero_grad()
        pk.odeint(pk.ode.autonomous(net), ONES, [0.0, 1.0], gradient=option).y[-1].sum().backward()
        assert float(net.weight.grad.abs().min()) > 0
    with pytest.raises(InputError, match="names tensors"):
        Backsolve(parameters=[1])


def test_times_in_a_list_keep_their_graph():
    end = torch.tensor(1.0, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(pk.odeint(decay, ONES[0], [0.0, end]).y[-1, 0], end)
    assert float(slope) == pytest.approx(-0.36787944, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"events": None}, {"atol": "a"}, {"rtol": "a"}, {"progress": 1}, {"control": 1}, {"context": 2.0}],
    ids=str,
)
def test_options_of_the_wrong_kind_are_refused(options):
    with pytest.raises(InputError):
        pk.odeint(decay, ONES, [0.0, 1.0], **options)


@pytest.mark.parametrize("method", [pk.ode.Tsit5(), SciPy("RK45")], ids=["ours", "SciPy"])
def test_progress_runs_to_its_end(method):
    calls = []
    pk.odeint(decay, ONES, [1.0, 0.0], method=method, progress=lambda done, total: calls.append(done / total))
    assert len(calls) >= 3
    assert calls == sorted(calls)
    assert calls[-1] == 1.0


def test_a_field_that_has_passed_can_go_unchecked():
    """Fewer evaluations, the same numbers; and what a check would have refused is then on the caller."""
    calls = [0]

    def counted(t, y):
        calls[0] += 1
        return -y

    y0 = torch.ones(3, 1, dtype=torch.float64)
    checked = pk.odeint(counted, y0, [0.0, 1.0])
    first, calls[0] = calls[0], 0
    free = pk.odeint(counted, y0, [0.0, 1.0], check=False)
    torch.testing.assert_close(free.y, checked.y, rtol=0, atol=0)
    assert (free.counts.f == checked.counts.f).all()
    assert calls[0] < first

    def mixing(t, y):
        return -y + 0 * y + y.mean(0, keepdim=True)

    with pytest.raises(OperatorError):
        pk.odeint(mixing, y0, [0.0, 1.0])
    assert pk.odeint(mixing, y0, [0.0, 1.0], check=False).y.shape == (2, 3, 1)

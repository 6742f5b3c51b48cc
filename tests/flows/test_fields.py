"""Fields with formulas and structure against autograd, closed forms and their invariants."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from pdekit.errors import InputError, ModelError
from pdekit.flows import CNF, DivergenceFreeField, HamiltonianField, PlanarField
from pdekit.ode import odeint
from pdekit.operators import Dense


def standard(dim):
    return MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())


def traces(field, t, x):
    """The trace of the Jacobian, one state after the other, and the whole of it."""
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda z: field(t, z[None])[0], row) for row in x])
    return jacobian.diagonal(dim1=-2, dim2=-1).sum(-1), jacobian


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_planar_field_and_its_divergence(hidden):
    field = PlanarField(3, width=5, hidden=hidden, seed=0).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    velocity, spread = field.with_divergence(0.3, x)
    torch.testing.assert_close(velocity, field(0.3, x))
    torch.testing.assert_close(spread, traces(field, 0.3, x)[0])
    times = torch.tensor([[0.1], [0.3], [0.7], [0.3]], dtype=torch.float64)
    torch.testing.assert_close(field(times, x)[1], velocity[1])
    # The sum in plain words.
    w, u, b, gate = (p[0] for p in field.parameters_at(torch.tensor([[0.3]]).double()))
    plain = sum(gate[n] * u[n] * torch.tanh(w[n] @ x[2] + b[n]) for n in range(5)) / 5
    torch.testing.assert_close(velocity[2], plain, rtol=1e-6, atol=1e-6)


def test_a_planar_flow_has_the_density_of_the_dense_trace():
    field = PlanarField(2, width=4, seed=1).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    own, dense = (
        CNF(field, standard(2), trace, rtol=1e-8, atol=1e-10).log_prob(x) for trace in (field.with_divergence, Dense())
    )
    torch.testing.assert_close(own, dense, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("dim", "potentials"), [(2, None), (3, None), (4, 2)])
def test_fields_without_divergence(dim, potentials):
    field = DivergenceFreeField(dim, potentials, hidden=(8,), seed=0).double()
    x = torch.randn(4, dim, dtype=torch.float64)
    found, jacobian = traces(field, 0.2, x)
    assert float(found.detach().abs().max()) < 1e-12 * max(1.0, float(jacobian.detach().abs().max()))
    assert float(jacobian.detach().abs().max()) > 1e-3
    torch.testing.assert_close(field.with_divergence(0.2, x)[1], torch.zeros(4).double())


def test_a_stream_function_gives_its_field():
    field = DivergenceFreeField(2, hidden=(8,), seed=0).double()
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(field.potential(0.0, x).sum(), x)
    torch.testing.assert_close(field(0.0, x), torch.stack([slope[:, 1], -slope[:, 0]], -1))


def test_volumes_are_kept_along_the_way():
    field = DivergenceFreeField(3, hidden=(16,), seed=0).double()
    x = torch.randn(3, 3, dtype=torch.float64)
    end = lambda z: odeint(field, z, [0.0, 2.0], rtol=1e-9, atol=1e-11).y[-1]  # noqa: E731
    for row in x:
        jacobian = torch.autograd.functional.jacobian(lambda z: end(z[None])[0], row)
        assert float(torch.linalg.det(jacobian)) == pytest.approx(1.0, abs=1e-6)


class _Pendulum(torch.nn.Module):
    def forward(self, t, x):
        return 0.5 * x[..., 1] ** 2 - torch.cos(x[..., 0])


def test_hamilton_s_equations_and_their_energy():
    field = HamiltonianField(2, hamiltonian=_Pendulum())
    x = torch.tensor([[0.3, 0.4], [2.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        field(0.0, x), torch.stack([x[:, 1], -torch.sin(x[:, 0])], -1), check_dtype=False, rtol=1e-12, atol=1e-12
    )
    net = HamiltonianField(4, hidden=(16,), seed=0).double()
    y = torch.randn(5, 4, dtype=torch.float64)
    found = odeint(net, y, [0.0, 5.0], rtol=1e-9, atol=1e-11).y[-1]
    assert float((net.energy(0.0, found) - net.energy(0.0, y)).detach().abs().max()) < 1e-7
    assert float((found - y).detach().abs().max()) > 0.1


def test_gradients_reach_the_parameters():
    for field in (DivergenceFreeField(2, hidden=(8,), seed=0), HamiltonianField(2, hidden=(8,), seed=0)):
        field = field.double()
        flow = CNF(field, standard(2), field.with_divergence, rtol=1e-7, atol=1e-9)
        x = torch.ones(1, 2, dtype=torch.float64)
        weight = field.potentials.layers[0].weight
        (slope,) = torch.autograd.grad(flow.log_prob(x).sum(), weight)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[2, 1] += sign * 1e-5
                values.append(float(flow.log_prob(x).sum()))
                weight[2, 1] -= sign * 1e-5
        assert float(slope[2, 1]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-8)
        assert math.isfinite(values[0])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ModelError, match="even"):
        HamiltonianField(3)
    with pytest.raises(ModelError, match="dim"):
        DivergenceFreeField(1)
    with pytest.raises(ModelError, match="width"):
        PlanarField(2, width=0)
    for field in (PlanarField(2), DivergenceFreeField(2), HamiltonianField(2)):
        with pytest.raises(InputError, match="states"):
            field(0.0, torch.zeros(5, 3))

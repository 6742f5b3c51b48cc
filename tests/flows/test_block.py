"""The ODE as a layer."""

import math

import pytest
import torch

from pdekit.errors import InputError
from pdekit.flows import ODEBlock
from pdekit.nets import MLP
from pdekit.ode import Backsolve, Discrete, odeint

X = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


class Turn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, t, y):
        return self.rate * torch.stack([-y[..., 1], y[..., 0]], -1)


def test_a_rotation_is_solved_and_differentiated():
    block = ODEBlock(Turn(), **TIGHT)
    c, s = math.cos(1.3), math.sin(1.3)
    matrix = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    torch.testing.assert_close(block(X), X @ matrix.T, rtol=1e-8, atol=1e-8)
    assert block(X.reshape(2, 3, 2)).shape == (2, 3, 2)
    (slope,) = torch.autograd.grad(block(X)[:, 0].sum(), block.field.rate)
    assert float(slope) == pytest.approx(float((X @ torch.tensor([[-s, -c], [c, -s]]).double().T)[:, 0].sum()))
    assert block.evaluations > 6


@pytest.mark.parametrize("gradient", [Backsolve(), Discrete(checkpoint=True)])
def test_zeros_are_appended_and_routes_of_the_gradient_agree(gradient):
    field = MLP(4, (8,), time=True, seed=0).double()
    plain, other = ODEBlock(field, 2, **TIGHT), ODEBlock(field, 2, gradient=gradient, **TIGHT)
    start = torch.cat([X, torch.zeros(6, 2).double()], -1)
    torch.testing.assert_close(plain(X), odeint(field, start, [0.0, 1.0], **TIGHT).y[-1])
    found = [torch.autograd.grad(b(X).square().mean(), list(field.parameters())) for b in (plain, other)]
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


def test_it_is_a_module_among_others():
    net = torch.nn.Sequential(ODEBlock(MLP(3, (8,), time=True, seed=0), 1), torch.nn.Linear(3, 1))
    assert net(torch.zeros(0, 2)).shape == (0, 1)
    assert len(list(net.parameters())) == len(list(net[0].field.parameters())) + 2
    with pytest.raises(InputError, match="module"):
        ODEBlock(torch.sin)
    with pytest.raises(InputError, match="times"):
        ODEBlock(Turn(), times=(1.0, 1.0))

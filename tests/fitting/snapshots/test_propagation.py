"""Masses of a chain at several times, against the matrix exponential, and their gradients against differences."""

import pytest
import torch

from pdekit.errors import NumericalError
from pdekit.fitting.snapshots.propagation import propagate, propagate_positive

TIMES = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)


def _chain(n=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda size: torch.rand(size, generator=g, dtype=torch.float64) + 0.2  # noqa: E731
    return draw(n - 1), draw(n - 1), draw(n)


def test_symmetric_route_is_the_matrix_exponential():
    up, down, start = _chain()
    diagonal, off = -torch.cat([up, down[-1:]]), down
    matrix = torch.diag(diagonal) + torch.diag(off, 1) + torch.diag(off, -1)
    matrix = matrix - 3 * torch.eye(9)  # no growing mode, as of every generator
    expected = torch.stack([torch.linalg.matrix_exp(matrix * t) @ start for t in TIMES])
    assert torch.allclose(propagate(diagonal - 3, off, start, TIMES), expected, rtol=1e-12)


@pytest.mark.parametrize("equal", [False, True])
def test_gradient_of_the_symmetric_route(equal):
    up, down, start = _chain(6)
    if equal:  # eigenvalues that coincide: a chain that falls apart into equal halves
        up, down = torch.ones(5).double(), torch.tensor([0.3, 0.4, 0.0, 0.3, 0.4]).double()
    inputs = [(-torch.cat([up, up[:1]]) - 3), down, start]
    if equal:
        inputs[0] = torch.tensor([-3.0, -3.5, -3.2, -3.0, -3.5, -3.2]).double()
    inputs = [z.clone().requires_grad_() for z in inputs]
    assert torch.autograd.gradcheck(lambda *z: propagate(z[0], z[1], z[2], TIMES), inputs, atol=1e-7)


def test_positive_route_is_the_matrix_exponential_in_every_entry():
    up, down, mass = _chain(12)
    mass = torch.where(torch.arange(12) < 2, mass, 0.0)
    q = torch.diag(up, -1) + torch.diag(down, 1)
    q = q - torch.diag(q.sum(0))
    found = propagate_positive(up, down, mass, TIMES)
    expected = torch.stack([torch.linalg.matrix_exp(q * t) @ mass for t in TIMES])
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-16)
    assert torch.allclose(found.sum(-1), mass.sum())
    assert bool((found > 0).all())


def test_rates_too_large_are_refused():
    with pytest.raises(NumericalError, match="too large"):
        propagate_positive(torch.full((3,), 1e9).double(), torch.ones(3).double(), torch.ones(4).double(), TIMES)

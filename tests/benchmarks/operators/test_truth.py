"""The references themselves, against closed forms and against one another."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from benchmarks.operators import nets, truth
from benchmarks.operators.sections.choice import grid
from benchmarks.operators.sections.million import Reference

# Sums of some ten terms of order one to a hundred, each with a rounding error of 1e-16.
close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_operators_of_polynomials(x: Tensor) -> None:
    fourth = lambda x: (x**4).sum(-1) + (x**2).sum(-1) ** 2  # noqa: E731
    square = (x**2).sum(-1)
    d = x.shape[-1]
    # lap |x|^4 = (4 d + 8) |x|^2, lap^2 |x|^4 = (4 d + 8) 2 d
    close(truth.laplacian(fourth, x), 12 * square + (4 * d + 8) * square)
    close(truth.biharmonic(fourth, x), torch.full((3,), 24.0 * d + (4 * d + 8) * 2 * d, dtype=x.dtype))
    close(truth.divergence(lambda x: x**3 + x.sum(), x), 3 * square + d)
    matrix = torch.randn(d, d, dtype=x.dtype)
    weighted = truth.weighted_hessian(lambda x: (x @ matrix * x).sum(-1), x, matrix)
    close(weighted, ((matrix + matrix.T) * matrix).sum().expand(3))


def test_derivatives_along_a_dimension(x: Tensor) -> None:
    found = truth.along_dimension(lambda x: x**3 * x.sum(-1, keepdim=True), x, 1, 3)
    y, s = x[:, 1], x.sum(-1)  # y^3 s with ds/dy = 1
    close(found, torch.stack([y**3 * s, 3 * y**2 * s + y**3, 6 * y * s + 6 * y**2, 6 * s + 18 * y]))


def test_slope_of_the_loss_is_autograds() -> None:
    net, x = nets.mlp(3, 3, width=5, depth=1), nets.states(2, 3)
    generator = torch.Generator().manual_seed(1)
    direction = {name: torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}
    double = truth.double(net).requires_grad_()
    jacobians = torch.func.vmap(torch.func.jacrev(double))(x.double())
    divergence = jacobians.diagonal(dim1=-2, dim2=-1).sum(-1)
    loss = double(x.double()).square().mean() + divergence.square().mean()
    gradients = torch.autograd.grad(loss, list(double.parameters()), allow_unused=True)
    exact = sum(
        (g * direction[name]).sum()
        for g, (name, _) in zip(gradients, net.named_parameters(), strict=True)
        if g is not None
    )
    # central differences with a step of 1e-4: an error of the order 1e-8
    assert truth.loss_slope(net, x, direction) == pytest.approx(float(exact), rel=1e-6)


def test_formula_in_a_million_dimensions_at_three() -> None:
    net, x = nets.mlp(3, 1, width=4, depth=2, seed=5), nets.states(2, 3)
    reference, double = Reference(net, x), truth.double(net).requires_grad_()
    laplacians = truth.laplacian(nets.scalar(double), x)
    close(torch.from_numpy(reference.laplacian()), laplacians.detach())
    layers = [layer for layer in double if isinstance(layer, nn.Linear)]
    gradients = torch.autograd.grad(laplacians.mean(), [layer.weight for layer in layers])
    for number, spot in ((0, (3, 1)), (1, (2, 0)), (2, (0, 3))):
        assert reference.slope(number, *spot) == pytest.approx(float(gradients[number][spot]), rel=1e-10)


@pytest.mark.parametrize("parameters", [5_000, 263_168, 1_300_000])
def test_width_for_equal_parameters(parameters: int) -> None:
    width = nets.width_for(parameters, 256, 256)
    count, wider = (nets.parameter_count(nets.mlp(256, 256, width=w)) for w in (width, width + 1))
    assert abs(count - parameters) <= (wider - count) / 2 + 1


def test_the_grid_has_sixty_different_cases() -> None:
    assert len(set(grid())) == len(list(grid())) == 60

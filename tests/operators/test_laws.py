"""Laws that hold for any function and any state, on random ones."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.operators import (
    biharmonic,
    dimwise_derivative,
    divergence,
    fokker_planck_operator,
    generator,
    jacobian_diagonal,
    laplacian,
    log_fokker_planck_operator,
    second_order_operator,
)
from pdekit.sde import SDE
from tests.operators.oracle import close

SEEDS = st.integers(0, 2**16)
few = settings(max_examples=8)


class Wave:
    """sum_k a_k sin(w_k . x + b_k), of any number of outputs, whose derivatives are waves again."""

    def __init__(self, seed, d, outputs=0, waves=3):
        g = torch.Generator().manual_seed(seed)
        self.w = torch.randn(waves, d, generator=g, dtype=torch.float64)
        self.b = torch.randn(waves, generator=g, dtype=torch.float64)
        self.a = torch.randn(waves, max(1, outputs), generator=g, dtype=torch.float64)
        self.outputs = outputs

    def __call__(self, x):
        values = torch.matmul(torch.sin(torch.nn.functional.linear(x, self.w, self.b)), self.a)
        return values if self.outputs else values.squeeze(-1)

    def gradient(self, x):
        cosine = torch.cos(torch.nn.functional.linear(x, self.w, self.b))
        return torch.matmul(cosine * self.a[:, 0], self.w)


def states(seed, d):
    return torch.randn(3, d, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)


def equation(seed, d, m):
    f, g = Wave(seed + 2, d, d), Wave(seed + 3, d, d * m)
    diffusion = lambda t, x: g(x).unflatten(-1, (d, m))  # noqa: E731
    return SDE(lambda t, x: f(x), diffusion, dim=d, noise_type="general", noise_dim=m, sde_type="stratonovich")


@few
@given(SEEDS, st.integers(1, 5))
def test_known_derivatives_of_waves(seed, d):
    u, x = Wave(seed, d), states(seed, d)
    square = (u.w**2).sum(-1)
    phase = torch.sin(x @ u.w.mT + u.b)
    close(laplacian(u)(x), -(phase * square) @ u.a[:, 0], terms=5e3)
    close(biharmonic(u)(x), (phase * square**2) @ u.a[:, 0], terms=5e4)
    f = Wave(seed, d, d)
    close(dimwise_derivative(f, order=4)(x), (phase.unsqueeze(-1) * u.w**4 * f.a).sum(-2), terms=5e4)


@few
@given(SEEDS, st.integers(1, 5))
def test_linear_in_the_function(seed, d):
    u, v, x = Wave(seed, d), Wave(seed + 9, d), states(seed, d)
    sde = equation(seed, d, 2)
    both = lambda x: 2 * u(x) - 3 * v(x)  # noqa: E731
    for operator in (laplacian, biharmonic):
        close(operator(both)(x), 2 * operator(u)(x) - 3 * operator(v)(x), terms=5e4)
    for operator in (generator, fokker_planck_operator):
        close(operator(both, sde)(0.0, x), 2 * operator(u, sde)(0.0, x) - 3 * operator(v, sde)(0.0, x), terms=5e3)


@few
@given(SEEDS, st.integers(1, 5))
def test_laplacian_is_the_divergence_of_the_gradient(seed, d):
    u, f, x = Wave(seed, d), Wave(seed + 5, d, d), states(seed, d)
    close(laplacian(u)(x), divergence(u.gradient)(x), terms=5e3)
    product = divergence(lambda x: u(x).unsqueeze(-1) * f(x))(x)
    close(product, u(x) * divergence(f)(x) + (u.gradient(x) * f(x)).sum(-1), terms=5e3)
    close(divergence(f)(x), jacobian_diagonal(f)(x).sum(-1))


@few
@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_generator_of_a_product(seed, d, m):
    """L(uv) = u L v + v L u + grad u . G G^T grad v."""
    u, v, x, sde = Wave(seed, d), Wave(seed + 9, d), states(seed, d), equation(seed, d, m)
    noise = sde.diffusion(0.0, x)
    along = lambda w: torch.einsum("nik,ni->nk", noise, w.gradient(x))  # noqa: E731
    product = u(x) * generator(v, sde)(0.0, x) + v(x) * generator(u, sde)(0.0, x) + (along(u) * along(v)).sum(-1)
    close(generator(lambda x: u(x) * v(x), sde)(0.0, x), product, terms=5e3)


@few
@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_factor_and_tensor(seed, d, m):
    u, x = Wave(seed, d), states(seed, d)
    factor = torch.randn(d, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tensor = factor @ factor.mT
    close(second_order_operator(u, factor=factor)(x), second_order_operator(u, tensor=tensor)(x), terms=5e3)
    skew = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    skew = skew - skew.mT
    close(second_order_operator(u, tensor=tensor + skew)(x), second_order_operator(u, tensor=tensor)(x), terms=5e3)


@few
@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_log_form_from_the_score(seed, d, m):
    log_p, x, sde = Wave(seed, d), states(seed, d), equation(seed, d, m)
    given_score = log_fokker_planck_operator(log_p, sde, score=lambda t, x: log_p.gradient(x))
    close(given_score(0.0, x), log_fokker_planck_operator(log_p, sde)(0.0, x), terms=5e3)

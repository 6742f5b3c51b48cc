import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from pdekit.fokker_planck.spectral import Entries, kernel_blocks, positive_blocks, positive_kernel


def tridiagonal(diagonal, off_diagonal):
    return torch.diag(diagonal) + torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1)


def random_generator(n, seed, barrier=0.0):
    """Log rates of a chain; `barrier` makes the way between two halves exponentially slow."""
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(n - 1, generator=generator, dtype=torch.float64)
    down = torch.randn(n - 1, generator=generator, dtype=torch.float64)
    up[n // 2] -= barrier
    down[n // 2] -= barrier
    return up, down


def symmetric(up, down):
    zero = up.new_zeros(1)
    return -(torch.cat([up.exp(), zero]) + torch.cat([zero, down.exp()])), (0.5 * (up + down)).exp()


def entries(n, steps, count, seed):
    generator = torch.Generator().manual_seed(seed)
    pick = lambda high: torch.randint(0, high, (count,), generator=generator)
    return Entries(torch.tensor(steps, dtype=torch.float64), pick(len(steps)), pick(n - 3), pick(n - 3))


@given(n=st.integers(4, 30), seed=st.integers(0, 1000), count=st.integers(1, 40), k=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_blocks_are_those_of_the_matrix_exponential(n, seed, count, k):
    diagonal, off_diagonal = symmetric(*random_generator(n, seed))
    wanted = entries(n, [0.1 * (i + 1) ** 2 for i in range(k)], count, seed)
    blocks = kernel_blocks(diagonal, off_diagonal, wanted)
    matrix = tridiagonal(diagonal, off_diagonal).numpy()
    for block, index, row, column in zip(blocks, wanted.step_index, wanted.rows, wanted.columns, strict=True):
        exact = torch.from_numpy(expm(matrix * float(wanted.steps[index])))[row : row + 4, column : column + 4]
        torch.testing.assert_close(block, exact, rtol=0, atol=1e-13 * n)


@pytest.mark.parametrize("barrier", [0.0, 30.0])
@pytest.mark.parametrize(("steps", "count"), [([0.3], 200), ([0.1, 0.5, 2.0], 12), ([0.05 * (i + 1) for i in range(60)], 60)])
def test_gradient_is_that_of_the_matrix_exponential(barrier, steps, count):
    # The last case sums entry by entry, the first makes whole kernels; behind a barrier two eigenvalues nearly coincide.
    up, down = random_generator(12, 3, barrier)
    up.requires_grad_()
    wanted = entries(12, steps, count, 1)
    weight = torch.randn(count, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (ours,) = torch.autograd.grad((weight * kernel_blocks(*symmetric(up, down), wanted)).sum(), up)
    kernels = torch.linalg.matrix_exp(tridiagonal(*symmetric(up, down)) * wanted.steps[:, None, None])
    exact = torch.stack(
        [kernels[s, r : r + 4, c : c + 4] for s, r, c in zip(wanted.step_index, wanted.rows, wanted.columns, strict=True)]
    )
    (theirs,) = torch.autograd.grad((weight * exact).sum(), up)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10 * float(theirs.abs().max()))


def test_positive_kernel_keeps_relative_accuracy_where_entries_are_tiny():
    # Poisson clock: a chain that only moves up by rate 1 has P(0 -> k) = e^{-t} t^k / k!.
    n, t = 40, 0.01
    generator = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1) - torch.diag(torch.cat([torch.ones(n - 1), torch.zeros(1)]).double())
    kernel = positive_kernel(generator, t)
    k = torch.arange(n - 1, dtype=torch.float64)
    exact = torch.exp(-t + k * math.log(t) - torch.lgamma(k + 1))
    assert float(exact[-1]) < 1e-100
    torch.testing.assert_close(kernel[0, :-1], exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(kernel.sum(-1), torch.ones(n, dtype=torch.float64), rtol=1e-12, atol=0)


def test_positive_blocks_agree_with_spectral_ones_where_both_hold():
    up, down = random_generator(15, 5)
    log_mass = torch.cat([torch.zeros(1), torch.cumsum(up - down, 0)]).double()
    generator = torch.diag(up.exp(), 1) + torch.diag(down.exp(), -1)
    generator = generator - torch.diag(generator.sum(-1))
    wanted = entries(15, [0.4, 1.1], 20, 2)
    offsets = torch.arange(4)
    tilt = 0.5 * (log_mass[wanted.rows[:, None] + offsets][:, :, None] - log_mass[wanted.columns[:, None] + offsets][:, None, :])
    ours = positive_blocks(generator, wanted) * torch.exp(tilt)
    torch.testing.assert_close(ours, kernel_blocks(*symmetric(up, down), wanted), rtol=1e-9, atol=1e-14)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from pdekit.fokker_planck.spectral import Entries, kernel_blocks


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

    def pick(high):
        return torch.randint(0, high, (count,), generator=generator)

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
@pytest.mark.parametrize(
    ("steps", "count"), [([0.3], 200), ([0.1, 0.5, 2.0], 12), ([0.05 * (i + 1) for i in range(60)], 60)]
)
def test_gradient_is_that_of_the_matrix_exponential(barrier, steps, count):
    # The last case sums entry by entry, the first makes whole kernels; behind a barrier two eigenvalues nearly
    # coincide.
    up, down = random_generator(12, 3, barrier)
    up.requires_grad_()
    wanted = entries(12, steps, count, 1)
    weight = torch.randn(count, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (ours,) = torch.autograd.grad((weight * kernel_blocks(*symmetric(up, down), wanted)).sum(), up)
    kernels = torch.linalg.matrix_exp(tridiagonal(*symmetric(up, down)) * wanted.steps[:, None, None])
    exact = torch.stack(
        [
            kernels[s, r : r + 4, c : c + 4]
            for s, r, c in zip(wanted.step_index, wanted.rows, wanted.columns, strict=True)
        ]
    )
    (theirs,) = torch.autograd.grad((weight * exact).sum(), up)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10 * float(theirs.abs().max()))

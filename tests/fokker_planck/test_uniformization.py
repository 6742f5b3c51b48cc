import math

import mpmath
import pytest
import torch

from pdekit.fokker_planck.spectral import Entries
from pdekit.fokker_planck.uniformization import kernel_rows, positive_blocks


def test_rows_keep_relative_accuracy_where_entries_are_tiny():
    # Poisson clock: a chain that only moves up, by rate 1, has P(0 -> k) = e^{-t} t^k / k!.
    n, t = 40, 0.01
    up, down = torch.ones(n - 1, dtype=torch.float64), torch.zeros(n - 1, dtype=torch.float64)
    row = kernel_rows(up, down, torch.tensor([0]), t, n)[0]
    k = torch.arange(n - 1, dtype=torch.float64)
    exact = torch.exp(-t + k * math.log(t) - torch.lgamma(k + 1))
    assert float(exact[-1]) < 1e-100
    torch.testing.assert_close(row[:-1], exact, rtol=1e-11, atol=0)


@pytest.mark.parametrize("step", [0.05, 3.0, 40.0, 900.0])
def test_blocks_equal_a_matrix_exponential_in_fifty_digits(step):
    generator = torch.Generator().manual_seed(1)
    n = 14
    up, down = (torch.rand(n - 1, generator=generator, dtype=torch.float64) + 0.2 for _ in range(2))
    entries = Entries(
        torch.tensor([step]).double(), torch.zeros(2, dtype=torch.long), torch.tensor([0, 9]), torch.tensor([10, 2])
    )
    with mpmath.workdps(50):
        matrix = mpmath.matrix(n, n)
        for i in range(n - 1):
            matrix[i, i + 1], matrix[i + 1, i] = mpmath.mpf(float(up[i])), mpmath.mpf(float(down[i]))
            matrix[i, i] -= matrix[i, i + 1]
            matrix[i + 1, i + 1] -= matrix[i + 1, i]
        exact = mpmath.expm(matrix * mpmath.mpf(float(entries.steps[0])), method="taylor")
    for block, row, column in zip(positive_blocks(up, down, entries), entries.rows, entries.columns, strict=True):
        truth = torch.tensor(
            [[float(exact[int(row) + a, int(column) + b]) for b in range(4)] for a in range(4)], dtype=torch.float64
        )
        torch.testing.assert_close(block, truth, rtol=1e-11, atol=0)


def test_gradient_in_the_rates():
    generator = torch.Generator().manual_seed(2)
    up, down = (torch.rand(8, generator=generator, dtype=torch.float64).add(0.2).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda u, d: kernel_rows(u, d, torch.tensor([0, 5]), 0.7, 8), (up, down))

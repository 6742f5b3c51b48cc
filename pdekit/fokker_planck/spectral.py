"""Transition kernels of a reversible chain by one symmetric eigendecomposition, with an exact backward pass.

For the symmetric tridiagonal A = M^{1/2} L M^{-1/2} = U diag(lam) U^T, exp(A dt) = U exp(lam dt) U^T for every dt, and
for a loss with gradient G in exp(A dt) the gradient in A is U (F * (U^T G U)) U^T with the divided differences
F_kl = (exp(lam_k dt) - exp(lam_l dt)) / (lam_k - lam_l) (Daleckii and Krein). They stay finite where eigenvalues nearly
coincide, as they do in deep wells, where differentiating the eigenvectors themselves gives NaN.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from pdekit.errors import NumericalError

_CHUNK_ELEMENTS = 8_000_000
# Eigenvalues closer than this (times dt) are divided as a derivative: a difference of exponentials would lose digits.
_CLOSE = 1e-3


@dataclass(frozen=True)
class Entries:
    """Which 4 x 4 blocks of which kernels are wanted.

    Attributes:
        steps: The distinct time steps, shape (k,).
        step_index: Which of them each block belongs to, (n_blocks,).
        rows: First row of each block, (n_blocks,).
        columns: First column of each block, (n_blocks,).
    """

    steps: Tensor
    step_index: Tensor
    rows: Tensor
    columns: Tensor

    def select(self, index: Tensor) -> "Entries":
        """The entries at these positions, with only the steps they need."""
        used, step_index = torch.unique(self.step_index[index], return_inverse=True)
        return Entries(self.steps[used], step_index, self.rows[index], self.columns[index])


def kernel_blocks(diagonal: Tensor, off_diagonal: Tensor, entries: Entries) -> Tensor:
    """4 x 4 blocks of exp(A dt), shape (n_blocks, 4, 4), differentiable in the entries of A.

    Accurate to rounding in the absolute sense: entries below about 1e-14 are noise (see `positive_blocks`).

    Args:
        diagonal: The diagonal of A, (n,), 1/time.
        off_diagonal: Its off-diagonal, (n - 1,), 1/time.
        entries: The blocks wanted.

    Raises:
        NumericalError: If the decomposition does not converge or A is not finite.
    """
    return _KernelBlocks.apply(diagonal, off_diagonal, entries)[0]  # type: ignore[no-any-return]


def decompose(diagonal: Tensor, off_diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (n,) and eigenvectors (n, n) of a symmetric tridiagonal matrix."""
    try:
        values, vectors = eigh_tridiagonal(diagonal.numpy(), off_diagonal.numpy(), lapack_driver="stevd")
    except (np.linalg.LinAlgError, ValueError) as error:
        raise NumericalError(
            f"The generator could not be decomposed ({error}); its rates are too far apart or not finite."
        ) from error
    # The generator has no growing mode; rounding may leave the stationary one slightly above zero.
    return torch.from_numpy(np.minimum(values, 0.0)), torch.from_numpy(np.ascontiguousarray(vectors))


class _KernelBlocks(torch.autograd.Function):
    @staticmethod
    def forward(diagonal: Tensor, off_diagonal: Tensor, entries: Entries) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        values, vectors = decompose(diagonal.detach(), off_diagonal.detach())
        out = torch.empty(len(entries.rows), 4, 4, dtype=vectors.dtype)
        for chosen, step in _groups(entries, len(values)):
            if step is None:
                left, right = _gather(vectors, entries.rows[chosen]), _gather(vectors, entries.columns[chosen])
                decay = torch.exp(values * entries.steps[entries.step_index[chosen], None])
                out[chosen] = torch.matmul(left * decay[:, None, :], right.transpose(-1, -2))
            else:
                kernel = (vectors * torch.exp(values * step)) @ vectors.T
                out[chosen] = kernel[_block_index(entries.rows[chosen], entries.columns[chosen])]
        return out, values, vectors

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.entries = inputs[2]
        _, values, vectors = output
        ctx.mark_non_differentiable(values, vectors)
        ctx.save_for_backward(values, vectors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor, _values: Tensor, _vectors: Tensor):
        values, vectors = ctx.saved_tensors
        weights = _spectral_gradient(gradient, values, vectors, ctx.entries)
        turned = vectors @ weights
        on_diagonal = (turned * vectors).sum(-1)
        off_diagonal = (turned[:-1] * vectors[1:]).sum(-1) + (turned[1:] * vectors[:-1]).sum(-1)
        return on_diagonal, off_diagonal, None


def _spectral_gradient(gradient: Tensor, values: Tensor, vectors: Tensor, entries: Entries) -> Tensor:
    """sum over kernels of F * (U^T G U), shape (n, n), symmetrised by its use."""
    n = len(values)
    total = torch.zeros(n, n, dtype=vectors.dtype)
    ahead, behind = torch.zeros_like(total), torch.zeros_like(total)
    gaps = values[:, None] - values[None, :]
    scattered = False
    longest = float(entries.steps.max())
    close_k, close_l = (gaps.abs() * longest < _CLOSE).nonzero(as_tuple=True)
    at_close = torch.zeros(len(close_k), dtype=vectors.dtype)
    for chosen, step in _groups(entries, n):
        if step is None:
            scattered = True
            left, right = _gather(vectors, entries.rows[chosen]), _gather(vectors, entries.columns[chosen])
            steps = entries.steps[entries.step_index[chosen], None]
            decay = torch.exp(values * steps)[:, None, :]
            right = torch.matmul(gradient[chosen], right)
            ahead += (left * decay).flatten(0, 1).T @ right.flatten(0, 1)
            behind += left.flatten(0, 1).T @ (right * decay).flatten(0, 1)
            mean = 0.5 * (values[close_k] + values[close_l])
            at_close += ((left[..., close_k] * right[..., close_l]).sum(1) * steps * torch.exp(mean * steps)).sum(0)
        else:
            dense = torch.zeros(n * n, dtype=vectors.dtype)
            rows, columns = _block_index(entries.rows[chosen], entries.columns[chosen])
            dense.index_add_(0, (rows * n + columns).flatten(), gradient[chosen].flatten())
            turned = vectors.T @ dense.view(n, n) @ vectors
            total += turned * _divided_differences(values, gaps, step)
    if scattered:
        quotient = (ahead - behind) / torch.where(gaps == 0, torch.ones_like(gaps), gaps)
        quotient[close_k, close_l] = at_close
        total += quotient
    return total


def _divided_differences(values: Tensor, gaps: Tensor, step: float) -> Tensor:
    """(exp(lam_k dt) - exp(lam_l dt)) / (lam_k - lam_l), by the larger of the two exponentials."""
    larger = torch.maximum(values[:, None], values[None, :])
    size = -gaps.abs() * step
    ratio = torch.where(
        size == 0, torch.ones_like(size), torch.expm1(size) / torch.where(size == 0, -torch.ones_like(size), size)
    )
    return step * torch.exp(larger * step) * ratio


def _groups(entries: Entries, n: int):
    """Splits the blocks: steps shared by many of them get a dense kernel each, the others are summed entry by entry."""
    counts = torch.bincount(entries.step_index, minlength=len(entries.steps))
    dense = counts * 4 >= n
    for step_index in dense.nonzero().flatten().tolist():
        yield (entries.step_index == step_index).nonzero().flatten(), float(entries.steps[step_index])
    rest = (~dense[entries.step_index]).nonzero().flatten()
    if len(rest):
        for chosen in rest.split(max(1, _CHUNK_ELEMENTS // (4 * n))):
            yield chosen, None


def _gather(vectors: Tensor, first: Tensor) -> Tensor:
    """Rows first .. first + 3 of the eigenvectors, (n_blocks, 4, n)."""
    return vectors[first[:, None] + torch.arange(4)]


def _block_index(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    offsets = torch.arange(4)
    return (rows[:, None, None] + offsets[:, None]).expand(-1, 4, 4), (columns[:, None, None] + offsets).expand(
        -1, 4, 4
    )

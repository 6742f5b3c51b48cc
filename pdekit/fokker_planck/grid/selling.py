"""Selling's decomposition: a diffusion tensor as a sum of diffusions between neighbours on a grid, none negative.

D = sum_k w_k e_k e_k^T with w_k >= 0 and integer vectors e_k, d (d + 1) / 2 of them in d = 1, 2, 3 dimensions. A second
derivative along e_k is a difference of two neighbours, so that jumps between neighbours have positive rates whatever
the cross-diffusion.

Source: E. Selling, Ueber die binaeren und ternaeren quadratischen Formen, J. reine angew. Math. 77 (1874) 143;
J. Fehrenbach and J.-M. Mirebeau, Sparse non-negative stencils for anisotropic diffusion, J. Math. Imaging Vis. 49
(2014) 123.
"""

from itertools import combinations

import numpy as np

from pdekit.errors import UnsupportedError

_ITERATIONS = 200
_LONGEST = 12  # cells that a neighbour may be away


def decompose(tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n, k) and offsets (n, k, d) with tensor = sum_k w_k e_k e_k^T.

    Args:
        tensor: Symmetric, positive semidefinite, in units of cells: D_ij / (h_i h_j), (n, d, d).

    Raises:
        UnsupportedError: If an offset would be too long: D is nearly degenerate in a direction oblique to the grid.

    Example:
        >>> weights, offsets = decompose(np.array([[[2.0, 1.0], [1.0, 2.0]]]))
        >>> float((weights[0, :, None, None] * offsets[0, :, :, None] * offsets[0, :, None, :]).sum(0)[0, 1])
        1.0
    """
    dim = tensor.shape[-1]
    if dim == 1:
        return tensor[:, :, 0], np.ones((len(tensor), 1, 1), dtype=np.int64)
    base = np.broadcast_to(np.vstack([np.eye(dim), -np.ones(dim)]), (len(tensor), dim + 1, dim)).astype(np.int64)
    base = base.copy()
    products = np.einsum("nai,nij,nbj->nab", base, tensor, base)
    pairs = list(combinations(range(dim + 1), 2))
    floor = 1e-13 * np.trace(tensor, axis1=1, axis2=2)
    for _ in range(_ITERATIONS):
        acute = np.stack([products[:, i, j] for i, j in pairs], -1)
        worst = acute.argmax(-1)
        todo = np.flatnonzero(acute[np.arange(len(acute)), worst] > floor)
        if not len(todo):
            break
        for k, (i, j) in enumerate(pairs):
            rows = todo[worst[todo] == k]
            if len(rows):
                base[rows] = _flipped(base[rows], i, j)
        products[todo] = np.einsum("nai,nij,nbj->nab", base[todo], tensor[todo], base[todo])
    weights = np.stack([np.maximum(-products[:, i, j], 0.0) for i, j in pairs], -1)
    offsets = np.stack([_conormal(base, i, j) for i, j in pairs], 1)
    weights = np.where(weights > floor[:, None], weights, 0.0)
    longest = np.abs(np.where(weights[..., None] > 0, offsets, 0)).max()
    if longest > _LONGEST:
        raise UnsupportedError(
            f"The diffusion tensor is so anisotropic, in a direction oblique to the grid, that cells {int(longest)} "
            "apart would exchange mass. Change variables so that its axes are closer to the states' axes, or use "
            "MonteCarlo()."
        )
    return weights, offsets


def _flipped(base: np.ndarray, i: int, j: int) -> np.ndarray:
    """The superbase with b_i turned: it stays one, and a sum of squares falls."""
    found = base.copy()
    found[:, i] = -base[:, i]
    others = [k for k in range(base.shape[1]) if k not in (i, j)]
    if base.shape[2] == 2:
        found[:, others[0]] = base[:, i] - base[:, j]
    else:
        for k in others:
            found[:, k] = base[:, k] + base[:, i]
    return found


def _conormal(base: np.ndarray, i: int, j: int) -> np.ndarray:
    """The integer vector at right angles to all of the base but b_i and b_j."""
    others = [k for k in range(base.shape[1]) if k not in (i, j)]
    if base.shape[2] == 2:
        b = base[:, others[0]]
        return np.stack([-b[:, 1], b[:, 0]], -1)
    return np.cross(base[:, others[0]], base[:, others[1]])


__all__ = ["decompose"]

"""Systems of equations with a generator too large to be factorised: in three dimensions factors fill up.

Source: H. A. van der Vorst, Bi-CGSTAB, SIAM J. Sci. Stat. Comput. 13 (1992) 631.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import bicgstab

_CLOSE = 1e-11  # the residual left of that at the start
_MOST = 2000  # products of two


def solved(matrix: sp.csr_array | sp.csc_array, right: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """x with matrix @ x = right, (N,); None if it is not found.

    Args:
        matrix: (N, N), without zeros on the diagonal. It may be singular if the sum of `right` is zero, as those of its
            columns are: then x is one of many.
        right: (N,).
        start: A first guess, (N,).
    """
    residual = right - matrix @ start
    if not residual.any():
        return start
    by_diagonal = sp.diags_array(np.reciprocal(matrix.diagonal().astype(float)))
    change, failed = bicgstab(matrix, residual, rtol=_CLOSE, atol=0.0, maxiter=_MOST, M=by_diagonal)
    return None if failed or not np.isfinite(change).all() else start + change


__all__ = ["solved"]

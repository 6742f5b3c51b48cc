"""The difference between an Ito and a Stratonovich drift, symbolically."""

from collections.abc import Sequence

import sympy
from sympy import Expr, MatrixBase, Symbol


def stratonovich_correction(diffusion: MatrixBase, state: Sequence[Symbol]) -> tuple[Expr, ...]:
    """The drift that a Stratonovich equation gains when it is written as an Ito equation.

    c_i = 1/2 sum_jk G_jk d G_ik / d x_j, so that f_ito = f_stratonovich + c.

    Args:
        diffusion: G, of shape (d, m).
        state: The d state symbols.

    Returns:
        The d components of c.

    Example:
        >>> x, sigma = sympy.symbols("x sigma", positive=True)
        >>> stratonovich_correction(sympy.Matrix([[sigma * x]]), [x])
        (sigma**2*x/2,)
    """
    dim, noise_dim = diffusion.shape
    return tuple(
        sympy.Add(
            *(
                # powsimp writes x**(2*gamma)/x as x**(2*gamma - 1), which stays finite at 0 where it should.
                sympy.powsimp(sympy.Rational(1, 2) * diffusion[j, k] * sympy.diff(diffusion[i, k], state[j]))
                for j in range(dim)
                for k in range(noise_dim)
            )
        )
        for i in range(dim)
    )

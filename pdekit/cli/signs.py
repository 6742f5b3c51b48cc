"""Parameters whose sign says nothing, as sigma in g = sigma: a Brownian motion and its mirror image are one law."""

from sympy import Expr, Symbol

from pdekit.symbolic import SymbolicSDE


def signless_params(model: SymbolicSDE) -> tuple[str, ...]:
    """Unbounded parameters whose sign only turns some of the Brownian motions around.

    Restricting these to positive values loses no process, and tells an estimate from its mirror image.

    Example:
        >>> signless_params(SymbolicSDE("x", "k*(m - x)", "s*x**g"))
        ('s',)
    """
    free = [p for p in model.param_symbols if model.params[p.name] == (float("-inf"), float("inf"))]
    return tuple(p.name for p in free if _only_mirrors(model, p))


def _only_mirrors(model: SymbolicSDE, p: Symbol) -> bool:
    """Whether p -> -p leaves the drift alone and multiplies every column of the diffusion by 1 or -1."""
    if any(p in f.free_symbols for f in model.drift) or p not in model.diffusion_matrix.free_symbols:
        return False
    columns = [model.diffusion_matrix.col(j) for j in range(model.noise_dim)]
    return all(any(all(_is_zero(g.subs(p, -p) - sign * g) for g in column) for sign in (1, -1)) for column in columns)


def _is_zero(expression: Expr) -> bool:
    return expression.expand() == 0

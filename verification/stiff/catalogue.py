"""All problems of the stiff test set, from the smallest to the largest kind."""

from functools import cache

from pdekit.errors import InputError
from verification.stiff import circuits, classics, grids, hollow, kinetics
from verification.stiff.problem import StiffProblem


@cache
def stiff_set() -> tuple[StiffProblem, ...]:
    """Small systems, then grids, then random hollow fields."""
    return (
        classics.prothero_robinson(),
        classics.van_der_pol(),
        classics.oregonator(),
        kinetics.robertson(),
        kinetics.e5(),
        kinetics.hires(),
        kinetics.pollution(),
        circuits.ring_modulator(),
        grids.heat(),
        grids.allen_cahn(),
        grids.burgers(),
        grids.brusselator(),
        grids.gray_scott(),
        grids.medical_akzo(),
        *map(hollow.random_hollow, hollow.COUPLINGS),
    )


def problem(name: str) -> StiffProblem:
    """The problem of that name.

    Raises:
        InputError: If there is none.
    """
    found = {p.name: p for p in stiff_set()}
    if name not in found:
        raise InputError(f"There is no stiff problem called {name!r}; there are {', '.join(found)}.")
    return found[name]


__all__ = ["problem", "stiff_set"]

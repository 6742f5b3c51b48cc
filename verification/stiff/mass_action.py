"""The law of mass action: reactions written as text become a system of differential equations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdekit.errors import InputError


class MassAction(nn.Module):
    """x' = S^T r with r_k = c_k prod_(j reacts in k) x_j, S the net stoichiometry of the reactions.

    Args:
        species: Their names, in the order of the state.
        reactions: (equation, c_k); an equation is `"A + B -> C + C"`, with at most two reactants and either side empty.

    Raises:
        InputError: If an equation has no arrow, an unknown species or too many reactants.

    Source: P. Érdi and J. Tóth, Mathematical Models of Chemical Reactions, Manchester University Press, 1989.

    Example:
        >>> decay = MassAction(["A", "B"], [("A -> B", 2.0)])
        >>> decay(0.0, torch.tensor([3.0, 1.0]))
        tensor([-6.,  6.])
    """

    rates: Tensor
    reactants: Tensor
    stoichiometry: Tensor

    def __init__(self, species: Sequence[str], reactions: Sequence[tuple[str, float]]) -> None:
        super().__init__()
        d = len(species)
        reactants = torch.full((2, len(reactions)), d)  # entry d of the state, put in by `forward`, is 1
        stoichiometry = torch.zeros(len(reactions), d, dtype=torch.float64)
        for k, (equation, _) in enumerate(reactions):
            left, right = _sides(equation, species)
            for place, j in enumerate(left):
                reactants[place, k] = j
                stoichiometry[k, j] -= 1
            for j in right:
                stoichiometry[k, j] += 1
        self.register_buffer("rates", torch.tensor([c for _, c in reactions], dtype=torch.float64))
        self.register_buffer("reactants", reactants)
        self.register_buffer("stoichiometry", stoichiometry)

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rates of change, (*batch, d)."""
        factors = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        first, second = self.reactants
        return (self.rates.to(x) * factors[..., first] * factors[..., second]) @ self.stoichiometry.to(x)


def _sides(equation: str, species: Sequence[str]) -> list[list[int]]:
    sides = [[name.strip() for name in side.split("+") if name.strip()] for side in equation.split("->")]
    unknown = {name for side in sides for name in side} - set(species)
    if len(sides) != 2 or len(sides[0]) > 2 or unknown:
        raise InputError(
            f"Expected an equation such as 'A + B -> C' with at most two reactants among {list(species)}, "
            f"got {equation!r}."
        )
    return [[list(species).index(name) for name in side] for side in sides]


__all__ = ["MassAction"]

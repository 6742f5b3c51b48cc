"""Order conditions of Runge-Kutta methods by rooted trees.

A method of s stages has order p if b . Phi(t) = 1 / gamma(t) for every rooted tree t of up to p vertices, where
Phi(t)_i = prod over subtrees s of (A Phi(s))_i and gamma(t) = |t| prod gamma(s).

Source: J. C. Butcher, Numerical Methods for Ordinary Differential Equations, 3rd edition, 2016, chapter 3; E. Hairer,
S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I, 2nd edition, section II.2.
"""

from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np


class Tree(NamedTuple):
    """A rooted tree: the subtrees at its root, sorted."""

    subtrees: tuple["Tree", ...]

    @property
    def order(self) -> int:
        """The number of vertices."""
        return 1 + sum(s.order for s in self.subtrees)

    @property
    def density(self) -> int:
        """gamma(t)."""
        return self.order * prod(s.density for s in self.subtrees)


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees of `order` vertices: 1, 1, 2, 4, 9, 20, ... of them.

    Example:
        >>> [len(trees(p)) for p in range(1, 7)]
        [1, 1, 2, 4, 9, 20]
    """
    if order == 1:
        return (Tree(()),)
    # A leaf more on any vertex of a smaller tree gives every tree.
    return tuple(sorted({larger for tree in trees(order - 1) for larger in _with_a_leaf(tree)}))


def _with_a_leaf(tree: Tree) -> list[Tree]:
    grown = [Tree(tuple(sorted((*tree.subtrees, Tree(())))))]
    for i, subtree in enumerate(tree.subtrees):
        rest = tree.subtrees[:i] + tree.subtrees[i + 1 :]
        grown += [Tree(tuple(sorted((*rest, larger)))) for larger in _with_a_leaf(subtree)]
    return grown


def elementary_weight(tree: Tree, a: np.ndarray) -> np.ndarray:
    """Phi(t) of all stages, (s,)."""
    weight = np.ones(len(a))
    for subtree in tree.subtrees:
        weight = weight * (a @ elementary_weight(subtree, a))
    return weight


def conditions(a: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear conditions on b for an order: rows Phi(t), right sides 1 / gamma(t), and the orders of the trees."""
    found = [tree for p in range(1, order + 1) for tree in trees(p)]
    rows = np.array([elementary_weight(tree, a) for tree in found])
    return rows, np.array([1 / tree.density for tree in found]), np.array([tree.order for tree in found])


def order_of(a: np.ndarray, b: np.ndarray, *, most: int = 6, tolerance: float = 1e-13) -> int:
    """The largest order, up to `most`, whose conditions weights b satisfy up to rounding."""
    for p in range(1, most + 1):
        rows, right, _ = conditions(a, p)
        size = np.abs(rows) @ np.abs(b) + np.abs(right)
        if (np.abs(rows @ b - right) > tolerance * (1 + size)).any():
            return p - 1
    return most


__all__ = ["Tree", "conditions", "elementary_weight", "order_of", "trees"]

"""Rates of jumps between two neighbours between which the equilibrium density changes by a known factor.

With a = log q_j / q_i at equilibrium, the rates from i to j and back are D / h^2 times w(a) and w(-a), and
w(a) / w(-a) = e^a: the equilibrium along the edge is exact, and no rate is negative, whatever the step.
"""

from typing import Literal

import numpy as np

Weights = Literal["blended", "square-root", "chang-cooper"]


def square_root(a: np.ndarray) -> np.ndarray:
    """e^(a/2): the rates of a chain whose barrier is halfway; the most accurate where a is small."""
    return np.exp(0.5 * np.clip(a, -600.0, 600.0))


def chang_cooper(a: np.ndarray) -> np.ndarray:
    """a / (1 - e^-a): the exact flux where the force along the edge is constant; goes over to upwind where a is large.

    Source: J. S. Chang and G. Cooper, A practical difference scheme for Fokker-Planck equations, J. Comput. Phys. 6
    (1970) 1; D. L. Scharfetter and H. K. Gummel, IEEE Trans. Electron Devices 16 (1969) 64.
    """
    small = np.abs(a) < 1e-3
    safe = np.where(small, 1.0, np.clip(a, -600.0, None))
    return np.where(small, 1.0 + a / 2.0 + a * a / 12.0, safe / -np.expm1(-safe))


def blended(a: np.ndarray) -> np.ndarray:
    """As accurate as the square root where a is small, as slow as Chang and Cooper's where it is large.

    Both are e^(a/2) times an even function, which equilibrium does not see: one, and (a/2) / sinh(a/2), which is
    1 - a^2/24 + ... Here that term is taken back for small a.
    """
    square = a * a
    return chang_cooper(a) * (1.0 + square / 24.0 / (1.0 + square * square / 4096.0))


WEIGHTS = {"blended": blended, "square-root": square_root, "chang-cooper": chang_cooper}

__all__ = ["WEIGHTS", "Weights", "blended", "chang_cooper", "square_root"]

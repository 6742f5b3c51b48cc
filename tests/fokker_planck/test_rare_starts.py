"""Starts that the stationary law hardly ever visits: a record that begins far from equilibrium."""

import math

import pytest
import torch

from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import FiniteVolumeGrid
from pdekit.fokker_planck.transition import GridTransition


@pytest.mark.parametrize("start", [3.0, 6.0, 10.0])
def test_distribution_function_after_a_start_from_afar(start):
    # Ornstein-Uhlenbeck with theta = sigma = 1: the stationary density at x = 10 is e^-100 of its maximum.
    dt = 1.0
    mean, deviation = start * math.exp(-dt), math.sqrt(-math.expm1(-2 * dt) / 2)
    x1 = mean + deviation * torch.linspace(-2, 2, 9, dtype=torch.float64)
    x0 = torch.full_like(x1, start)
    coordinate = LampertiCoordinate(lambda x: torch.ones_like(x), (-math.inf, math.inf), (-2.0, start), 4.0)
    exact = torch.special.ndtr((x1 - mean) / deviation)
    errors = []
    for cells in (250, 500):
        grid = FiniteVolumeGrid(coordinate, *coordinate.range, cells)
        kernel = GridTransition(grid, x0, x1, torch.tensor([dt], dtype=torch.float64), torch.zeros(9, dtype=torch.long))
        errors.append(float((kernel.cdf(lambda x: (-x, torch.ones_like(x))) - exact).abs().max()))
    # Second order in the cell, with a constant that grows with the drift's square.
    assert errors[1] < 3e-2
    assert errors[1] < 0.3 * errors[0]

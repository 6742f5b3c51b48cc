import math

import numpy as np
import torch

from pdekit.simulation.noise import BrownianStream


def test_increments_have_the_covariance_of_their_integrals():
    h, like = 0.25, torch.zeros(1, dtype=torch.float64)
    noise = BrownianStream(1, 100_000, 1, integrals=True, like=like).draw(torch.tensor([h], dtype=torch.float64))
    dw, dz = noise.dw.flatten(), noise.dz.flatten()
    found = [dw.square().mean(), (dw * dz).mean(), dz.square().mean()]
    # 1e5 draws: five standard errors of a second moment are 5 sqrt(2/1e5) = 2.2 % of it.
    np.testing.assert_allclose(found, [h, h**2 / 2, h**3 / 3], rtol=0.022)


def test_coarsened_increments_are_those_of_the_same_path():
    like = torch.zeros(1, dtype=torch.float64)
    fine = BrownianStream(1, 50_000, 1, integrals=True, like=like).draw(torch.full((2,), 0.5, dtype=torch.float64))
    coarse = fine.coarsened(0.5)
    moments = [coarse.dw.square().mean(), (coarse.dw * coarse.dz).mean(), coarse.dz.square().mean()]
    np.testing.assert_allclose(moments, [1, 1 / 2, 1 / 3], rtol=5 * math.sqrt(2 / 50_000))


def test_blocks_do_not_overlap():
    like = torch.zeros(1, dtype=torch.float64)
    stream = BrownianStream(0, 2, 1, integrals=False, like=like)
    h = torch.ones(3, dtype=torch.float64)
    assert not torch.equal(stream.draw(h).dw, stream.draw(h).dw)


def test_takes_the_dtype_of_the_state():
    stream = BrownianStream(0, 2, 3, integrals=True, like=torch.zeros(1, dtype=torch.float32))
    noise = stream.draw(torch.ones(4, dtype=torch.float64))
    assert noise.dw.dtype == noise.dz.dtype == torch.float32
    assert noise.dw.shape == noise.dz.shape == (4, 2, 3)

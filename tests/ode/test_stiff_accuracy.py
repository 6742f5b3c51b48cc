"""The quick ones of the stiff test set: the error at the end in units of the tolerance."""

import pytest
import torch

import pdekit as pk
from pdekit.ode import Kvaerno5, RadauIIA5
from verification.stiff import problem
from verification.stiff.references import reference

RTOL = 1e-4


@pytest.mark.parametrize("method", [Kvaerno5(), RadauIIA5()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("name", ["hires", "robertson", "pollution", "hollow_0.3"])
def test_the_error_is_ten_tolerances_at_most(name, method):
    p = problem(name)
    with torch.no_grad():
        sol = pk.odeint(p.field, p.y0, [p.start, p.end], method=method, rtol=RTOL, atol=p.atol(RTOL))
    assert float(p.error(sol.y[-1], reference(name))) / RTOL <= 10

"""Which density serves which model: learned SDEs."""

import pytest
import torch

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.cubature import CubatureTransition
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.learned import LearnedSDE

NOTHING = torch.zeros(0, dtype=torch.float64)


class Well(LearnedSDE):
    """x - x^3 and .5 in every state, as functions without formulas."""

    kind = "test-well"

    def __init__(self, dim, *, diagonal=True, autonomous=True):
        super().__init__(
            tuple("xyz"[:dim]),
            ((-torch.inf, torch.inf),) * dim,
            ((-2.0, 2.0),) * dim,
            diagonal=diagonal,
            autonomous=autonomous,
        )

    def drift(self, t, x):
        return x - x**3

    def noise(self, t, x):
        return torch.diag_embed(torch.full_like(x, 0.5))

    def to_record(self):
        return self._common_record(), {}

    @classmethod
    def from_record(cls, record, arrays):
        return cls(len(record["states"]))


def pairs(dim, n=6, dt=0.3):
    generator = torch.Generator().manual_seed(1)
    x0 = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    x1 = x0 + 0.3 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return Pairs(torch.zeros(n).double(), torch.full((n,), dt).double(), x0, x1, torch.zeros(n).long())


@pytest.fixture
def formula(model):
    def make(dim):
        names = ["x", "y", "z"][:dim]
        return model([f"{v} - {v}**3" for v in names], ["s"] * dim, {"s": (0, None)}, state=names)

    return make


def test_a_learned_scalar_sde_has_the_density_of_its_formula(formula):
    data, theta = pairs(1), torch.tensor([0.5], dtype=torch.float64)
    learned = transition_density(Well(1), data, NOTHING)
    assert isinstance(learned, FokkerPlanckTransition)
    truth = FokkerPlanckTransition.lay(formula(1), data, theta).extrapolated()
    torch.testing.assert_close(learned.log_density(NOTHING), truth.log_density(theta))
    torch.testing.assert_close(learned.cdf(NOTHING), truth.cdf(theta))


@pytest.mark.parametrize("diagonal", [True, False])
def test_several_learned_states_take_integrated_moments_or_euler(formula, diagonal):
    data, theta = pairs(2), torch.tensor([0.5], dtype=torch.float64)
    assert isinstance(transition_density(Well(2, diagonal=diagonal), data, NOTHING), CubatureTransition)
    learned = transition_density(Well(2, diagonal=diagonal), data, NOTHING, "euler")
    assert isinstance(learned, EulerTransition)
    truth = EulerTransition(formula(2), data)
    torch.testing.assert_close(learned.log_density(NOTHING), truth.log_density(theta))
    torch.testing.assert_close(learned.residuals(NOTHING), truth.residuals(theta))


def test_what_needs_formulas_is_refused_to_learned_sdes():
    with pytest.raises(UnsupportedError, match="needs formulas"):
        transition_density(Well(1), pairs(1), NOTHING, "bridge")
    with pytest.raises(UnsupportedError, match="one state"):
        transition_density(Well(2), pairs(2), NOTHING, "fokker-planck")
    moving = transition_density(Well(1, autonomous=False), pairs(1), NOTHING)
    assert isinstance(moving, CubatureTransition)

import pytest
import torch

from pdekit.errors import ModelError
from pdekit.nets.modulation import Modulation


@pytest.mark.parametrize("kind", ["film", "concatenate"])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
def test_features_of_rows_and_of_dimensions(kind, batch):
    modulation = Modulation(5, 2, kind).double()
    z = torch.randn(*batch, 2, dtype=torch.float64)
    a = torch.randn(*batch, 7, 5, dtype=torch.float64)
    whole = modulation(a, z)
    assert whole.shape == a.shape
    for i in range(7):
        torch.testing.assert_close(modulation(a[..., i, :], z), whole[..., i, :])


def test_concatenation_adds_a_linear_map_of_z():
    modulation = Modulation(5, 2, "concatenate").double()
    a, z = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    both = torch.nn.Linear(7, 5).double()
    layer = modulation.network
    with torch.no_grad():
        both.weight.copy_(torch.cat([torch.eye(5), layer.weight], 1))
        both.bias.copy_(layer.bias)
    torch.testing.assert_close(modulation(a, z), both(torch.cat([a, z], -1)))


def test_film_is_affine_in_the_features():
    modulation = Modulation(5, 2).double()
    z = torch.randn(4, 2, dtype=torch.float64)
    a, b = torch.randn(2, 4, 5, dtype=torch.float64)
    zero = modulation(torch.zeros_like(a), z)
    torch.testing.assert_close(modulation(a + b, z) - zero, modulation(a, z) + modulation(b, z) - 2 * zero)
    scale = modulation(torch.ones_like(a), z) - zero
    assert (scale != 1).all()
    assert zero.all()


def test_scales_start_near_one_at_any_number_of_conditions():
    for count in (1, 10, 100):
        modulation = Modulation(200, count)
        z = torch.randn(500, count)
        zero = torch.zeros(500, 200)
        scale = modulation(zero + 1, z) - modulation(zero, z)
        assert 0.1 < (scale - 1).std() < 0.6


def test_without_conditions_it_is_the_identity():
    a = torch.randn(4, 5)
    assert Modulation(5, 0)(a, None) is a


def test_what_is_refused():
    with pytest.raises(ModelError, match="needs a conditioning vector of 2 entries, got none"):
        Modulation(5, 2)(torch.zeros(4, 5), None)
    with pytest.raises(ModelError, match="modulation must be one of"):
        Modulation(5, 2, "gate")

import pytest
import torch

from pdekit.errors import ModelError, NumericalError
from pdekit.sde import SDE
from pdekit.simulation import Milstein, simulate


def run(f=lambda t, x: -x, g=lambda t, x: 0.5 + 0 * x, x0=(1.0, 2.0), **options):
    scheme = options.pop("scheme", None)
    return simulate(SDE(f, g, dim=2, **options), list(x0), [0.0, 0.1], paths=4, dt=0.05, seed=0, scheme=scheme)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda t, x: x.sum(-1), "shape"),
        (lambda t, x: torch.tensor(0.0, dtype=x.dtype), "shape"),
        (lambda t, x: -x.float(), "float32"),
        (lambda t, x: 1.0, "must return a tensor, got float"),
        (lambda t, x: x @ torch.ones(3, 2, dtype=x.dtype), "drift failed at t=0 on x of shape"),
        (lambda t, x: x - x.mean(0), "other paths"),
        (lambda t, x: x + torch.arange(len(x), dtype=x.dtype)[:, None], "other paths"),
        (lambda t, x: torch.rand_like(x), "chance"),
    ],
)
def test_drifts_that_break_the_contract_are_refused(f, message):
    with pytest.raises(ModelError, match=message):
        run(f=f)


def test_the_diffusion_is_held_to_its_noise_type():
    with pytest.raises(ModelError, match="diffusion must map"):
        run(g=lambda t, x: torch.ones(*x.shape, 2, dtype=x.dtype))
    with pytest.raises(ModelError, match="diffusion must map"):
        run(noise_type="general", noise_dim=3)
    with pytest.raises(ModelError, match="additive"):
        run(g=lambda t, x: torch.diag_embed(x), noise_type="additive")


def test_a_false_declaration_of_separable_noise_is_found():
    with pytest.raises(ModelError, match="diffusion of x1 depends on other states"):
        run(g=lambda t, x: torch.stack([x[..., 1], x[..., 1]], -1), separable=True, scheme=Milstein())
    # A difference of states stays the same if all move alike.
    with pytest.raises(ModelError, match="depends on other states"):
        run(g=lambda t, x: torch.stack([x[..., 0], x[..., 1] - x[..., 0]], -1), separable=True)


def test_true_separable_noise_passes():
    assert run(g=lambda t, x: 0.1 * x, separable=True, scheme=Milstein()).status == "success"


def test_a_coefficient_that_is_not_finite_at_the_start_is_named():
    with pytest.raises(NumericalError, match=r"drift is not finite at the start t=0, x1=0, x2=2 \(path 0\)"):
        run(f=lambda t, x: 1 / x, x0=(0.0, 2.0))


def test_fields_with_matrix_products_pass():
    weight = torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert run(f=lambda t, x: torch.tanh(x @ weight)).status == "success"

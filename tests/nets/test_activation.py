import pytest
import torch
from torch import nn

from pdekit.errors import ModelError
from pdekit.nets.activation import Activation, check_activation, gain, initialise, saturate

NAMES = ["tanh", "sigmoid", "sine", "silu", "gelu", "softplus", "mish", "relu"]


def gaussian_mean(function):
    """E function(z) for z ~ N(0, 1), by the trapezoidal rule."""
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
    return torch.trapezoid(function(z) * density, z)


@pytest.mark.parametrize("name", NAMES)
def test_the_gain_keeps_unit_variance(name):
    second = gaussian_mean(lambda z: (gain(name) * Activation(name)(z)).square())
    assert float(second) == pytest.approx(1, abs=1e-3)  # gains are given to four digits


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_function_of_its_name(name):
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    truth = torch.sin if name == "sine" else getattr(nn.functional, name)
    assert torch.equal(Activation(name)(x), truth(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_finite_input_stays_finite_and_small(name, dtype):
    x = torch.tensor([1e30, -1e30, 3e38, 0.0], dtype=dtype, requires_grad=True)
    y = Activation(name)(x)
    y.sum().backward()
    assert y.abs().max() <= 1.01e4
    assert x.grad.isfinite().all()


def test_unguarded_ones_leave_large_values_alone():
    x = torch.tensor([1e30])
    assert torch.equal(Activation("relu", guarded=False)(x), x)
    assert Activation("relu")(x) == 1e4


@pytest.mark.parametrize("name", [name for name in NAMES if name != "relu"])
def test_derivatives_to_second_order(name):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(Activation(name), x)


def test_saturate_keeps_ordinary_values():
    x = torch.tensor([-9e3, 0.0, 9e3, 1e5])
    assert torch.equal(saturate(x), torch.tensor([-9e3, 0.0, 9e3, 1e4]))


@pytest.mark.parametrize("fan_in", [1, 10, 1000])
def test_initial_weights_keep_the_scale(fan_in):
    layer = initialise(nn.Linear(fan_in, 2000), 1.5)
    assert float(layer.weight.detach().std() * fan_in**0.5) == pytest.approx(1.5, rel=0.1)
    assert layer.bias.abs().max() <= fan_in**-0.5


def test_an_unknown_name_is_refused_with_the_names_that_exist():
    with pytest.raises(ModelError, match=r"must be one of tanh, sigmoid, .*, got 'swish'"):
        check_activation("swish")
    with pytest.raises(ModelError, match="got 'step'"):
        Activation("step")

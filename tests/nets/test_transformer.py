import dataclasses
import json

import pytest
import torch
from torch.autograd import gradgradcheck
from torch.func import functional_call, jacrev, vmap

from pdekit.errors import ModelError
from pdekit.nets import transformer
from pdekit.nets.transformer import MLPTransformer

CASES = {
    "default": MLPTransformer(),
    "deep": MLPTransformer(hidden=(5, 4, 3), activation="silu"),
    "plain": MLPTransformer(hidden=(6,), activation="tanh", gated=False),
}


@pytest.fixture(params=CASES)
def options(request):
    return CASES[request.param]


@pytest.fixture(params=[1, 3])
def channels(request):
    return request.param


def inputs(*batch, features=4, dtype=torch.float64):
    return torch.randn(*batch, dtype=dtype), torch.randn(*batch, features, dtype=dtype)


def by_hand(tau, x, h):
    """One entry x and its features h, as the documented formula has it."""
    gates = [gate.weight[:, 0] * x + gate.weight[:, 1:] @ h + gate.bias for gate in tau.gates]
    a = tau.activation(gates[0])
    if len(gates) == 2:
        a = a * gates[1]
    for layer in tau.layers:
        a = tau.activation(layer(a))
    return tau.readout(a) + tau.direct.weight[:, 0] * x + tau.direct.weight[:, 1:] @ h + tau.direct.bias


def test_it_is_the_formula_at_each_entry(options, channels):
    tau = options.build(4, channels).double()
    x, h = inputs(2, 3)
    f = tau(x, h)
    assert f.shape == (2, 3) if channels == 1 else (2, 3, channels)
    expected = torch.stack([torch.stack([by_hand(tau, x[i, j], h[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(f.reshape(2, 3, channels), expected)


def test_no_entry_sees_another(options):
    tau = options.build(4).double()
    x, h = inputs(5)
    jacobian = jacrev(tau)(x, h)
    assert torch.equal(jacobian != 0, torch.eye(5, dtype=torch.bool))
    by_feature = jacrev(tau, argnums=1)(x, h)
    assert torch.equal((by_feature != 0).all(-1), torch.eye(5, dtype=torch.bool))


def test_one_channel_alone(options, channels):
    tau = options.build(4, channels).double()
    x, h = inputs(6)
    whole = tau(x, h).reshape(6, channels)
    for k in range(channels):
        torch.testing.assert_close(tau(x, h, channel=k), whole[..., k])


@pytest.mark.parametrize("batch", [(3,), (0, 3), (2, 5, 3)])
def test_any_batch_shape(options, channels, batch):
    x, h = inputs(*batch)
    tau = options.build(4, channels).double()
    shape = batch if channels == 1 else (*batch, channels)
    assert tau(x, h).shape == shape
    with torch.no_grad():
        assert tau(x, h).shape == shape


@pytest.mark.parametrize("channel", [None, 1])
def test_tiles_change_nothing(options, monkeypatch, channel):
    tau = options.build(4, 2).double()
    x, h = inputs(7, 3)
    whole = tau(x, h, channel)
    monkeypatch.setattr(transformer, "_TILE", 4)
    with torch.no_grad():
        torch.testing.assert_close(tau(x, h, channel), whole)
        torch.testing.assert_close(tau(x.mT, h.mT.mT.transpose(0, 1), channel), whole.transpose(0, 1))
        torch.testing.assert_close(vmap(lambda x, h: tau(x, h, channel))(x, h), whole)


def test_tiles_are_used_where_no_gradient_is_recorded():
    tau = MLPTransformer().build(2)
    calls = []
    tau.gates[0].register_forward_hook(lambda *_: calls.append(1))
    x, h = inputs(3, 2**15, features=2, dtype=torch.float32)
    tau(x, h)
    assert len(calls) == 1
    with torch.no_grad():
        tau(x, h)
    assert len(calls) == 4


def test_it_can_be_affine_in_the_entry_and_in_the_features(options):
    tau = options.build(4).double()
    with torch.no_grad():
        tau.readout.weight.zero_()
        tau.readout.bias.zero_()
    x, h = inputs(9)
    weight, bias = tau.direct.weight[0], tau.direct.bias
    torch.testing.assert_close(tau(x, h), weight[0] * x + h @ weight[1:] + bias)
    assert weight.all()


def test_a_bounded_gate_grows_linearly():
    tau = MLPTransformer().build(4).double()
    h = torch.randn(50, 4, dtype=torch.float64)
    for sign in (1.0, -1.0):
        near, far = (tau(torch.full((50,), sign * scale, dtype=torch.float64), h) for scale in (1e6, 2e6))
        torch.testing.assert_close(far / near, torch.full_like(near, 2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "silu"])
@pytest.mark.parametrize("features", [1, 8, 64])
def test_values_start_at_scale_one(activation, features):
    options = MLPTransformer(activation=activation)
    x, h = inputs(2000, features=features, dtype=torch.float32)
    with torch.no_grad():
        variances = [options.build(features)(x, h).var() for _ in range(50)]
    assert 0.5 < torch.stack(variances).mean().sqrt() < 2


def test_derivatives_to_second_order(options):
    tau = options.build(2, 2).double()
    names, values = zip(*tau.named_parameters(), strict=True)
    x, h = inputs(2, features=2)

    def f(x, h, *values):
        return functional_call(tau, dict(zip(names, values, strict=True)), (x, h))

    leaves = [value.detach().clone().requires_grad_() for value in (x, h, *values)]
    assert gradgradcheck(f, leaves, fast_mode=True)


def test_every_parameter_is_trained(options, channels):
    tau = options.build(4, channels).double()
    tau(*inputs(20)).square().sum().backward()
    assert [name for name, p in tau.named_parameters() if p.grad is None or not p.grad.all()] == []


def test_compiles_as_one_graph(options):
    tau = options.build(4)
    x, h = inputs(5, dtype=torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(tau, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, h), tau(x, h))


def test_options_survive_json(options):
    assert MLPTransformer(**json.loads(json.dumps(dataclasses.asdict(options)))) == options


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"hidden": ()}, "hidden must be a tuple of at least 1"),
        ({"hidden": (0,)}, r"hidden\[0\] must be an integer of at least 1"),
        ({"activation": "step"}, "activation must be one of"),
        ({"gated": 1}, "gated must be True or False, got 1"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises(ModelError, match=message):
        MLPTransformer(**bad)


def test_bad_sizes_are_refused():
    with pytest.raises(ModelError, match="features must be an integer"):
        MLPTransformer().build(0)
    with pytest.raises(ModelError, match="channels must be an integer"):
        MLPTransformer().build(3, channels=0)

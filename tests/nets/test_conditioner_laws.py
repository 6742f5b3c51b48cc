"""What every conditioner for sets, sequences and grids must satisfy; test_<name>.py has what is peculiar to each."""

import dataclasses
import json

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, jacrev, vmap

from pdekit.errors import ModelError
from pdekit.nets.conditioners.attention import AttentionConditioner
from pdekit.nets.conditioners.base import Conditioner, ConditionerOptions
from pdekit.nets.conditioners.convolution import ConvolutionConditioner
from pdekit.nets.conditioners.masked import MaskedConditioner
from pdekit.nets.conditioners.pooling import PoolingConditioner
from pdekit.nets.conditioners.two_stream import HollowTransformerConditioner

DIM = 6
CASES = {
    "masked": MaskedConditioner(),
    "masked-blocks": MaskedConditioner(hidden=(16, 16, 16), block=2, rank=3),
    "mean": PoolingConditioner(),
    "mean-deep": PoolingConditioner(hidden=(16, 8, 16), particle_dim=2, modulation="concatenate"),
    "max": PoolingConditioner(pool="max", particle_dim=3),
    "logsumexp": PoolingConditioner(pool="logsumexp"),
    "one-particle": PoolingConditioner(particle_dim=6),
    "attention": AttentionConditioner(layers=1),
    "attention-deep": AttentionConditioner(layers=4, heads=4, width=16, modulation="concatenate"),
    "two-stream": HollowTransformerConditioner(layers=1),
    "two-stream-deep": HollowTransformerConditioner(layers=3, width=16, modulation="concatenate"),
    "two-stream-attention": HollowTransformerConditioner(readout="attention"),
    "ring": ConvolutionConditioner(shape=(6,), kernel=3, dilations=(1, 1, 2)),
    "line": ConvolutionConditioner(shape=(6,), padding="zeros", hidden=(16, 8)),
    "torus": ConvolutionConditioner(shape=(2, 3), dilations=(1, 2, 3), modulation="concatenate"),
    "plane": ConvolutionConditioner(shape=(3, 2), padding="zeros", dilations=(2, 1)),
    "channels": ConvolutionConditioner(shape=(3,), channels=2),
}
SMALL = {
    "masked": MaskedConditioner(features=2, hidden=(4,)),
    "mean": PoolingConditioner(features=2, hidden=(3,)),
    "max": PoolingConditioner(features=2, hidden=(3,), pool="max"),
    "logsumexp": PoolingConditioner(features=2, hidden=(3,), pool="logsumexp"),
    "siblings": PoolingConditioner(features=2, hidden=(3,), particle_dim=2),
    "attention": AttentionConditioner(features=2, width=4),
    "two-stream": HollowTransformerConditioner(features=2, width=4),
    "two-stream-attention": HollowTransformerConditioner(features=2, width=4, readout="attention"),
    "torus": ConvolutionConditioner(features=2, hidden=(3,), shape=(2, 2), kernel=3, dilations=(1, 1)),
    "channels": ConvolutionConditioner(features=2, hidden=(3,), shape=(2,), channels=2, dilations=(1, 1)),
}
ORDINARY = (0.0, 3.7, -250.0)
EXTREME = (1e30, -1e30)
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16}


def leaks(conditioner, x, z=None):
    """The (i, value) for which replacing x_i by the value changes a bit of h_i, and those that make any h infinite."""
    found = []
    before = conditioner(x, z)
    for i in range(x.shape[-1]):
        for value in ORDINARY + EXTREME:
            replaced = x.clone()
            replaced[..., i] = value
            after = conditioner(replaced, z)
            same = torch.equal(before[..., i, :].view(BITS[x.dtype]), after[..., i, :].view(BITS[x.dtype]))
            if not same or not after.isfinite().all():
                found.append((i, value))
    return found


def seen(conditioner, x):
    """(d, d): whether h_i has a derivative with respect to x_j in any row of x."""
    jacobian = vmap(jacrev(conditioner))(x)  # (n, d, features, d)
    return (jacobian != 0).any(0).any(1)


def everything_else(conditioner):
    if hasattr(conditioner, "visible"):
        return conditioner.visible()
    return ~torch.eye(conditioner.dim, dtype=torch.bool)


@pytest.fixture(params=CASES)
def options(request):
    return CASES[request.param]


@pytest.fixture(params=SMALL)
def small(request):
    return SMALL[request.param]


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("dtype", BITS)
def test_no_bit_of_h_i_depends_on_x_i(options, dtype, activation):
    conditioner = dataclasses.replace(options, activation=activation).build(DIM, 2).to(dtype)
    x, z = torch.randn(3, DIM, dtype=dtype), torch.randn(3, 2, dtype=dtype)
    with torch.no_grad():
        assert leaks(conditioner, x, z) == []


class Leaky(Conditioner):
    """A conditioner with a sum over all minus the own term, which is hollow but for rounding."""

    def forward(self, x, z=None):
        e = torch.tanh(x).unsqueeze(-1)
        return e.sum(-2, keepdim=True) - e


class Dense(Conditioner):
    def forward(self, x, z=None):
        return torch.tanh(x.flip(-1)).unsqueeze(-1)


def test_the_laws_see_a_leak():
    x = torch.randn(3, 5)
    assert leaks(Leaky(5, 1), x)
    assert torch.equal(seen(Leaky(5, 1), x), ~torch.eye(5, dtype=torch.bool))  # autograd alone is fooled
    assert {i for i, _ in leaks(Dense(5, 1), x)} == {2}
    assert seen(Dense(5, 1), x)[2, 2]


def test_h_i_depends_on_every_x_j_it_should_see(options):
    conditioner = options.build(DIM).double()
    assert torch.equal(seen(conditioner, torch.randn(50, DIM, dtype=torch.float64)), everything_else(conditioner))


def test_a_larger_state_is_seen_as_a_whole():
    x = torch.randn(2, 16, dtype=torch.float64)
    for options in (PoolingConditioner(), AttentionConditioner(), HollowTransformerConditioner()):
        conditioner = options.build(16).double()
        assert torch.equal(seen(conditioner, x), everything_else(conditioner))


def test_any_batch_shape(options):
    conditioner = options.build(DIM, 2).double()
    x, z = torch.randn(4, 3, DIM, dtype=torch.float64), torch.randn(4, 3, 2, dtype=torch.float64)
    h = conditioner(x, z)
    assert h.shape == (4, 3, DIM, options.features)
    close = {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(conditioner(x[1], z[1]), h[1], **close)
    torch.testing.assert_close(conditioner(x[2, 1], z[2, 1]), h[2, 1], **close)
    torch.testing.assert_close(conditioner(x[:, :1], z[:, :1]), h[:, :1], **close)
    backwards = x.mT.contiguous().mT
    assert not backwards.is_contiguous()
    torch.testing.assert_close(conditioner(backwards, z), h, **close)
    torch.testing.assert_close(vmap(conditioner)(x, z), h, **close)
    assert conditioner(x[:0], z[:0]).shape == (0, 3, DIM, options.features)


def test_an_empty_batch_has_gradients(options):
    conditioner = options.build(DIM)
    conditioner(torch.zeros(0, DIM)).sum().backward()
    assert all(not p.grad.any() for p in conditioner.parameters() if p.grad is not None)


def test_rows_do_not_see_each_other(options):
    conditioner = options.build(DIM)
    x = torch.randn(5, DIM)
    other = x.clone()
    other[[0, 1, 3, 4]] = torch.randn(4, DIM) * 100
    assert torch.equal(conditioner(x)[2], conditioner(other)[2])


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_derivatives_to_second_order_in_state_conditioning_and_parameters(small, activation):
    conditioner = dataclasses.replace(small, activation=activation).build(4, 1).double()
    parameters = dict(conditioner.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    flat = torch.cat([p.detach().flatten() for p in parameters.values()]).requires_grad_()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 1, dtype=torch.float64, requires_grad=True)

    def h(x, z, flat):
        pieces = zip(parameters.items(), flat.split(sizes), strict=True)
        return functional_call(conditioner, {name: piece.view_as(p) for (name, p), piece in pieces}, (x, z))

    assert gradcheck(h, (x, z, flat), fast_mode=True)
    assert gradgradcheck(h, (x, z, flat), fast_mode=True)


def test_every_parameter_is_trained(options):
    conditioner = options.build(DIM, 2).double()
    h = conditioner(torch.randn(20, DIM, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64))
    h.square().sum().backward()
    idle = [name for name, p in conditioner.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_compiles_as_one_graph(small):
    conditioner = small.build(4, 1)
    x, z = torch.randn(3, 4, requires_grad=True), torch.randn(3, 1)
    torch._dynamo.reset()
    compiled = torch.compile(conditioner, backend="aot_eager", fullgraph=True)
    for h in (conditioner, compiled):
        conditioner.zero_grad()
        x.grad = None
        value = h(x, z)
        value.square().sum().backward()
        if h is conditioner:
            expected = [value, x.grad, *(p.grad for p in conditioner.parameters())]
        else:
            torch.testing.assert_close([value, x.grad, *(p.grad for p in conditioner.parameters())], expected)


def shaped(options, dim):
    """The options with a grid of `dim` entries where they describe a grid; near to square if it has two axes."""
    if not isinstance(options, ConvolutionConditioner):
        return options
    sites = dim // options.channels
    rows = next(r for r in range(int(sites**0.5), 0, -1) if sites % r == 0)
    return dataclasses.replace(options, shape=(sites,) if len(options.shape) == 1 else (rows, sites // rows))


SCALED = {
    "mean": PoolingConditioner(),
    "max": PoolingConditioner(pool="max"),
    "logsumexp": PoolingConditioner(pool="logsumexp"),
    "pairs": PoolingConditioner(particle_dim=2),
    "attention": AttentionConditioner(),
    "two-stream": HollowTransformerConditioner(),
    "two-stream-attention": HollowTransformerConditioner(readout="attention"),
    "ring": ConvolutionConditioner(shape=(1,)),
    "plane": ConvolutionConditioner(shape=(1, 1), padding="zeros", dilations=(1, 2, 4)),
    "channels": ConvolutionConditioner(shape=(1,), channels=2),
}


@pytest.mark.parametrize("dim", [2, 16, 256, pytest.param(4096, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SCALED)
def test_features_start_at_scale_one(name, dim):
    """The root mean square, over dimensions and features, of the standard deviation over x ~ N(0, I)."""
    quadratic = isinstance(SCALED[name], AttentionConditioner | HollowTransformerConditioner)
    rows, nets = (4, 1) if quadratic and dim > 1000 else (64, 3)
    variances = []
    for _ in range(nets):
        conditioner = shaped(SCALED[name], dim).build(dim)
        with torch.no_grad():
            h = torch.cat([conditioner(x) for x in torch.randn(rows, dim).split(1 if quadratic else rows)])
        variances.append(h.var(0).mean())
        assert h.var(0).mean(0).min() > 1e-4  # and no feature is blind
    assert 0.5 < torch.stack(variances).mean().sqrt() < 2


@pytest.mark.parametrize("name", SCALED)
def test_a_single_state_leaves_features_of_z_alone(name):
    options = dataclasses.replace(SCALED[name], **{"channels": 1} if name == "channels" else {})
    options = dataclasses.replace(options, **{"particle_dim": 1} if name == "pairs" else {})
    conditioner = options.build(1, 2)
    z = torch.randn(3, 2)
    h = conditioner(torch.randn(3, 1), z)
    assert h.shape == (3, 1, options.features)
    assert h.isfinite().all()
    assert h.any()
    assert torch.equal(h, conditioner(torch.full((3, 1), 1e30), z))
    assert not torch.equal(h, conditioner(torch.randn(3, 1), z + 1))
    assert options.build(1)(torch.randn(1)).any()


def test_conditioning_enters(options):
    conditioner = options.build(DIM, 2)
    x, z = torch.randn(4, DIM), torch.randn(4, 2)
    assert (conditioner(x, z) != conditioner(x, z + 1)).any(-1).all()
    with pytest.raises(ModelError, match="needs a conditioning vector of 2"):
        conditioner(x)


def test_the_type_of_parameters_is_kept(options):
    for dtype in BITS:
        assert options.build(DIM).to(dtype)(torch.randn(2, DIM, dtype=dtype)).dtype == dtype


def test_options_survive_json_and_name_their_network(options):
    assert isinstance(options, ConditionerOptions)
    assert type(options)(**json.loads(json.dumps(dataclasses.asdict(options)))) == options
    assert hash(options) == hash(dataclasses.replace(options))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.features = 3
    assert type(options.build(DIM)).__name__ == type(options).__name__ + "Module"


def test_a_saved_network_is_restored(options):
    x = torch.randn(3, DIM)
    first, second = options.build(DIM), options.build(DIM)
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


def test_building_depends_on_the_seed_alone(options):
    def build():
        torch.manual_seed(7)
        module = options.build(DIM, 1)
        return [*module.state_dict().values(), torch.rand(3)]

    for one, other in zip(build(), build(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (PoolingConditioner, {"features": 0}, "features must be an integer of at least 1, got 0"),
        (PoolingConditioner, {"features": True}, "features must be an integer"),
        (PoolingConditioner, {"hidden": ()}, "hidden must be a tuple of at least 1 positive integers"),
        (PoolingConditioner, {"hidden": (8, -1)}, r"hidden\[1\] must be an integer of at least 1, got -1"),
        (PoolingConditioner, {"hidden": 32}, "hidden must be a tuple"),
        (PoolingConditioner, {"particle_dim": 1.5}, "particle_dim must be an integer"),
        (PoolingConditioner, {"pool": "sum"}, "pool must be one of 'mean', 'max', 'logsumexp', got 'sum'"),
        (PoolingConditioner, {"activation": "step"}, "activation must be one of tanh"),
        (PoolingConditioner, {"modulation": "add"}, "modulation must be one of 'film', 'concatenate'"),
        (AttentionConditioner, {"width": 1, "heads": 1}, "width must be an integer of at least 2"),
        (AttentionConditioner, {"heads": 3}, "heads must divide width=32, got heads=3; try width=48"),
        (AttentionConditioner, {"layers": 0}, "layers must be an integer of at least 1"),
        (HollowTransformerConditioner, {"readout": "mlp"}, "readout must be one of 'pointwise', 'attention'"),
        (HollowTransformerConditioner, {"heads": 5}, "heads must divide width=32"),
        (ConvolutionConditioner, {"shape": (4,), "kernel": 4}, "kernel must be odd.*try 5"),
        (ConvolutionConditioner, {"shape": (4,), "kernel": 1}, "kernel must be an integer of at least 3"),
        (ConvolutionConditioner, {"shape": (4, 0)}, r"shape\[1\] must be an integer of at least 1, got 0"),
        (ConvolutionConditioner, {"shape": ()}, "shape must be a tuple of at least 1"),
        (ConvolutionConditioner, {"shape": (4,), "dilations": ()}, "dilations must be a tuple of at least 1"),
        (ConvolutionConditioner, {"shape": (4,), "padding": "same"}, "padding must be one of 'circular', 'zeros'"),
    ],
)
def test_bad_options_are_refused(kind, bad, message):
    with pytest.raises(ModelError, match=message):
        kind(**bad)


@pytest.mark.parametrize("dim", [0, -1, 2.0, True])
def test_a_dimension_is_a_positive_integer(options, dim):
    with pytest.raises(ModelError, match="dim must be an integer of at least 1"):
        options.build(dim)

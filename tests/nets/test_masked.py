"""The masked conditioner: hollow to the bit, at any depth and in any number of blocks, and blind to nothing else."""

import dataclasses
import json

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, jacrev, vmap

from pdekit.errors import ModelError
from pdekit.nets.conditioners.base import ConditionerOptions
from pdekit.nets.conditioners.masked import MaskedConditioner

BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16}
VALUES = (0.0, 3.7, -250.0, 1e30, -1e30, 3e38)
CASES = {
    "default": MaskedConditioner(),
    "blocks": MaskedConditioner(hidden=(8, 8), block=3, rank=2),
    "deep": MaskedConditioner(hidden=(6, 4, 5), block=4, modulation="concatenate"),
    "shallow": MaskedConditioner(hidden=(7,)),
    "one-by-one": MaskedConditioner(hidden=(4,), block=1, rank=3),
}


def leaks(conditioner, x, z=None):
    """The (i, value) for which replacing x_i by the value changes a bit of h_i."""
    found = []
    bits = BITS[x.dtype]
    before = conditioner(x, z).view(bits)
    for i in range(x.shape[-1]):
        for value in VALUES:
            replaced = x.clone()
            replaced[..., i] = value
            after = conditioner(replaced, z).view(bits)
            if not torch.equal(before[..., i, :], after[..., i, :]):
                found.append((i, value))
    return found


def seen(conditioner, x):
    """(d, d): whether h_i has a derivative with respect to x_j in some row of x."""
    return (vmap(jacrev(conditioner))(x) != 0).any(0).any(1)


@pytest.fixture(params=CASES)
def options(request):
    return CASES[request.param]


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus", "relu"])
@pytest.mark.parametrize("dtype", BITS)
def test_no_bit_of_h_i_depends_on_x_i(options, dtype, activation):
    conditioner = dataclasses.replace(options, activation=activation).build(7, 2).to(dtype)
    with torch.no_grad():
        assert leaks(conditioner, torch.randn(3, 7, dtype=dtype), torch.randn(3, 2, dtype=dtype)) == []


@settings(max_examples=15)
@given(
    dim=st.integers(1, 20),
    hidden=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    block=st.integers(1, 20),
    rank=st.integers(1, 4),
    features=st.integers(1, 3),
    activation=st.sampled_from(["tanh", "gelu", "sine", "mish"]),
    dtype=st.sampled_from(list(BITS)),
)
def test_any_architecture_is_hollow_and_sees_all_others(dim, hidden, block, rank, features, activation, dtype):
    options = MaskedConditioner(features, tuple(hidden), block, rank, activation)
    conditioner = options.build(dim)
    torch.testing.assert_close(
        seen(conditioner.double(), torch.randn(4, dim, dtype=torch.float64)), ~torch.eye(dim, dtype=torch.bool)
    )
    with torch.no_grad():
        assert leaks(conditioner.to(dtype), torch.randn(2, dim, dtype=dtype)) == []


def test_large_weights_do_not_leak_either():
    conditioner = CASES["blocks"].build(7)
    with torch.no_grad():
        for p in conditioner.parameters():
            p.mul_(30)  # 3e38 now overflows in the first layer
        assert leaks(conditioner, torch.randn(3, 7)) == []


@pytest.mark.parametrize("broken", ["unmasked", "inclusive"])
def test_the_search_for_leaks_finds_them(broken):
    conditioner = CASES["blocks"].build(7)
    if broken == "unmasked":
        conditioner.layers[0].linear.mask.fill_(1)
    else:
        conditioner.readout.earlier.weights.copy_(torch.ones(3, 3).tril())
    with torch.no_grad():
        assert leaks(conditioner, torch.randn(3, 7))


def by_hand(conditioner, options, x):
    """The same network for one row, block by block in loops, nothing masked: what is not seen is left out."""
    blocks, length, d = conditioner.blocks, conditioner.length, len(x)
    x = torch.cat([x, x.new_zeros(blocks * length - d)])
    phi = torch.nn.functional.silu
    degrees = [[k * length // width for k in range(width)] for width in options.hidden]
    entries = {0: x.view(blocks, length), 1: x.flip(0).view(blocks, length)}
    streams = {}
    for way in (0, 1):
        a, own = [*entries[way]], list(range(1, length + 1))
        for layer, degree in zip(conditioner.layers, degrees, strict=True):
            a = [phi(_block(layer, way * blocks, a, b, own, degree, blocks)) for b in range(blocks)]
            own = degree
        streams[way] = a
    readout, h = conditioner.readout, []
    width, rank, features = options.hidden[-1], options.rank if blocks > 1 else 0, options.features
    for i in range(d):
        b, position = divmod(i, length)
        columns = slice(position * features, (position + 1) * features)
        weight, value = readout.linear.weight[b, :, columns], readout.linear.bias[b, 0, columns]
        for way, block, place in ((0, b, position), (1, blocks - 1 - b, length - 1 - position)):
            rows = weight[way * (width + rank) :]
            for k in range(width):
                if degrees[-1][k] <= place:
                    value = value + streams[way][block][k] * rows[k]
            both = [torch.cat(pair) for pair in zip(streams[way], entries[way], strict=True)]
            value = value + _earlier(readout, way * blocks, both, block, blocks) @ rows[width : width + rank]
        for k in range(length):
            if k != position:
                value = value + x[b * length + k] * weight[2 * (width + rank) + k]
        h.append(value)
    return torch.stack(h)


def _block(layer, offset, a, b, source, target, blocks):
    weight = layer.linear.weight[offset + b]
    value = layer.linear.bias[offset + b, 0] + _earlier(layer, offset, a, b, blocks) @ weight[len(source) :]
    for k, degree in enumerate(source):
        value = value + torch.stack([a[b][k] * weight[k, u] * (degree <= m) for u, m in enumerate(target)])
    return value


def _earlier(layer, offset, a, b, blocks):
    if blocks == 1:
        return a[0].new_zeros(0)
    weight = layer.earlier.linear.weight[offset : offset + blocks]
    total = sum((a[c] @ weight[c] for c in range(b)), weight.new_zeros(weight.shape[-1]))
    return total / max(b, 1) ** 0.5


@pytest.mark.parametrize("dim", [1, 5, 6, 11])
@pytest.mark.parametrize("name", ["blocks", "shallow", "one-by-one"])
def test_it_computes_what_loops_over_units_compute(name, dim):
    conditioner = CASES[name].build(dim).double()
    x = torch.randn(3, dim, dtype=torch.float64)
    expected = torch.stack([by_hand(conditioner, CASES[name], row) for row in x])
    torch.testing.assert_close(conditioner(x), expected)


def test_every_pair_is_seen_through_many_blocks():
    conditioner = MaskedConditioner(hidden=(16, 16), block=8).build(64).double()
    assert torch.equal(seen(conditioner, torch.randn(2, 64, dtype=torch.float64)), ~torch.eye(64, dtype=torch.bool))


def test_one_block_is_the_plain_mask():
    conditioner = MaskedConditioner(hidden=(50,), block=50).build(50)
    assert (conditioner.blocks, conditioner.length) == (1, 50)
    assert not any("earlier" in name for name, _ in conditioner.named_parameters())


@pytest.mark.parametrize(("dim", "blocks", "length"), [(1, 1, 1), (32, 1, 32), (33, 2, 17), (256, 8, 32)])
def test_blocks_are_even_and_never_longer_than_asked(dim, blocks, length):
    conditioner = MaskedConditioner().build(dim)
    assert (conditioner.blocks, conditioner.length) == (blocks, length)
    assert MaskedConditioner(hidden=(64, 5)).build(dim).length <= 5


def test_any_batch_shape(options):
    conditioner = options.build(7, 2).double()
    x, z = torch.randn(4, 3, 7, dtype=torch.float64), torch.randn(4, 3, 2, dtype=torch.float64)
    h = conditioner(x, z)
    assert h.shape == (4, 3, 7, options.features)
    torch.testing.assert_close(conditioner(x[1], z[1]), h[1])
    torch.testing.assert_close(conditioner(x[2, 1], z[2, 1]), h[2, 1])
    backwards = x.mT.contiguous().mT
    assert not backwards.is_contiguous()
    torch.testing.assert_close(conditioner(backwards, z), h)
    torch.testing.assert_close(vmap(conditioner)(x, z), h)
    assert conditioner(x[:0], z[:0]).shape == (0, 3, 7, options.features)
    conditioner(x[:0], z[:0]).sum().backward()


def test_rows_do_not_see_each_other(options):
    conditioner = options.build(7)
    x = torch.randn(5, 7)
    other = x.clone()
    other[[0, 1, 3, 4]] = torch.randn(4, 7) * 100
    assert torch.equal(conditioner(x)[2], conditioner(other)[2])


@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_derivatives_to_second_order_in_state_conditioning_and_parameters(hidden):
    conditioner = MaskedConditioner(2, hidden, block=2, rank=2).build(4, 1).double()
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


def test_compiles_as_one_graph():
    conditioner = MaskedConditioner(2, (3,), block=2, rank=2).build(5, 1)
    x, z = torch.randn(3, 5, requires_grad=True), torch.randn(3, 1)
    torch._dynamo.reset()
    compiled = torch.compile(conditioner, backend="aot_eager", fullgraph=True)
    results = []
    for h in (conditioner, compiled):
        value = h(x, z)
        results.append([value, *torch.autograd.grad(value.square().sum(), [x, *conditioner.parameters()])])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("options", [MaskedConditioner(), MaskedConditioner(activation="tanh", block=8, hidden=(16,))])
@pytest.mark.parametrize("dim", [2, 16, 256, 4096])
def test_features_start_at_scale_one(options, dim):
    """The root mean square, over dimensions and features, of the standard deviation over x ~ N(0, I)."""
    nets = 20 if dim == 2 else 2
    with torch.no_grad():
        variances = [options.build(dim)(torch.randn(64, dim)).var(0) for _ in range(nets)]
    assert 0.5 < torch.stack(variances).mean().sqrt() < 2
    assert torch.stack(variances).mean((0, 1)).min() > 1e-2  # and no feature is blind


def test_a_single_state_leaves_features_of_z_alone():
    conditioner = MaskedConditioner().build(1, 2)
    x, z = torch.randn(3, 1), torch.randn(3, 2)
    h = conditioner(x, z)
    assert h.isfinite().all()
    assert h.any()
    assert torch.equal(h, conditioner(torch.full((3, 1), 1e30), z))
    assert not torch.equal(h, conditioner(x, z + 1))


def test_conditioning_enters(options):
    conditioner = options.build(7, 2)
    x, z = torch.randn(4, 7), torch.randn(4, 2)
    assert (conditioner(x, z) != conditioner(x, z + 1)).any(-1).all()
    with pytest.raises(ModelError, match="needs a conditioning vector of 2"):
        conditioner(x)


def test_every_parameter_is_trained(options):
    conditioner = options.build(7, 2).double()
    h = conditioner(torch.randn(20, 7, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64))
    h.square().sum().backward()
    assert [name for name, p in conditioner.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_masks_are_no_parameters_and_not_saved():
    conditioner = MaskedConditioner(block=2).build(5)
    assert set(conditioner.state_dict()) == {name for name, _ in conditioner.named_parameters()}


def test_options_survive_json(options):
    assert isinstance(options, ConditionerOptions)
    assert MaskedConditioner(**json.loads(json.dumps(dataclasses.asdict(options)))) == options
    assert hash(options) == hash(dataclasses.replace(options))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"features": 0}, "features must be an integer of at least 1, got 0"),
        ({"hidden": ()}, "hidden must be a tuple of at least 1 positive integers"),
        ({"hidden": (8, 0)}, r"hidden\[1\] must be an integer of at least 1, got 0"),
        ({"block": 0}, "block must be an integer of at least 1"),
        ({"rank": 1.5}, "rank must be an integer of at least 1, got 1.5"),
        ({"activation": "step"}, "activation must be one of tanh"),
        ({"modulation": "add"}, "modulation must be one of 'film', 'concatenate'"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises(ModelError, match=message):
        MaskedConditioner(**bad)


@pytest.mark.parametrize("dim", [0, -1, 2.0, True])
def test_a_dimension_is_a_positive_integer(dim):
    with pytest.raises(ModelError, match="dim must be an integer of at least 1"):
        MaskedConditioner().build(dim)

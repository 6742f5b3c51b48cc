"""The scan conditioner: its recurrence against a loop over positions, and what every conditioner must satisfy."""

import dataclasses
import json

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from pdekit.errors import ModelError
from pdekit.nets.conditioners import scan as module
from pdekit.nets.conditioners.base import ConditionerOptions
from pdekit.nets.conditioners.recurrence import ExclusiveScan, chunk_length, step_table
from pdekit.nets.conditioners.scan import ScanConditioner

DIM = 37  # longer than a chunk and no multiple of one
CASES = {
    "default": ScanConditioner(),
    "two-layers": ScanConditioner(layers=2, width=6, hidden=8, modulation="concatenate"),
    "four-layers": ScanConditioner(layers=4, width=4, hidden=8),
    "one-channel": ScanConditioner(features=1, width=1, hidden=1),
}
SMALL = {
    "one-layer": ScanConditioner(features=2, width=3, hidden=4),
    "two-layers": ScanConditioner(features=2, width=3, hidden=4, layers=2),
    "concatenate": ScanConditioner(features=2, width=3, hidden=4, layers=2, modulation="concatenate"),
}
VALUES = (0.0, 3.7, -250.0, 1e30, -1e30)
SOME = (0, 1, 15, 16, 31, 32, 36)  # the ends, and both sides of the borders between chunks
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16}


@pytest.fixture(params=CASES)
def options(request):
    return CASES[request.param]


@pytest.fixture(params=SMALL)
def small(request):
    return SMALL[request.param]


def loop(e, rate, backward=False, start=None):
    """States of the recurrence by its definition, and the one past the last."""
    a, s, states = torch.exp(-rate).unsqueeze(-1), torch.zeros_like(e[..., 0]) if start is None else start, {}
    for j in reversed(range(e.shape[-1])) if backward else range(e.shape[-1]):
        states[j] = s
        s = a * s + e[..., j]
    return torch.stack([states[j] for j in range(e.shape[-1])], dim=-1), s


def slow(conditioner, x, z=None):
    """The conditioner by its formula, (n, d) -> (n, d, features), with a loop over dimensions."""

    def phi(modulation, a):
        return conditioner.activation(modulation(a.permute(1, 2, 0), z).permute(2, 0, 1))

    e = conditioner.weight.unsqueeze(1) * x + conditioner.bias.unsqueeze(1)
    e = phi(conditioner.modulate_embedding, e) - conditioner.centre
    a = 0
    for direction in range(2):
        entries = e
        for layer, rate in enumerate(torch.exp(conditioner.log_rate[:, direction])):
            states, _ = loop(entries, rate, backward=direction == 1)
            states = states * conditioner.scale[layer].view(-1, 1, 1)
            a = a + torch.einsum("hc,cnd->hnd", conditioner.readout[layer, direction], states)
            if layer + 1 < len(conditioner.log_rate):
                gate = torch.einsum("kc,cnd->knd", conditioner.gate[layer, direction], states)
                entries = e * torch.tanh(gate + conditioner.gate_bias[layer, direction].unsqueeze(-1))
    hidden = phi(conditioner.modulate_readout, conditioner.gain.unsqueeze(1) * a + conditioner.offset.unsqueeze(1))
    return torch.einsum("fh,hnd->ndf", conditioner.out.weight, hidden) + conditioner.out.bias


def leaks(conditioner, x, z=None, dimensions=None):
    """The (i, value) for which replacing x_i by the value changes a bit of h_i, or makes any h infinite."""
    found = []
    before = conditioner(x, z)
    for i in range(x.shape[-1]) if dimensions is None else dimensions:
        for value in VALUES:
            replaced = x.clone()
            replaced[..., i] = value
            after = conditioner(replaced, z)
            same = torch.equal(before[..., i, :].view(BITS[x.dtype]), after[..., i, :].view(BITS[x.dtype]))
            if not same or not after.isfinite().all():
                found.append((i, value))
    return found


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("length", [1, 2, 16, 31, 32, 33, 37, 64, 67, 256, 1000, 2111])
def test_the_recurrence_is_that_of_a_loop(length, backward):
    # From a decay of exp(-20), for which dividing by its powers would lose everything, to one of 1 - 3e-7.
    rate = torch.tensor([20.0, 3.0, 0.1, 1e-3, 3e-7], dtype=torch.float64)
    e, start = torch.randn(5, 3, length, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    # One rate for both directions would not show a mix-up of the two.
    both = torch.stack([rate * 1.3, rate] if backward else [rate, rate * 1.3])
    scan = ExclusiveScan(both, step_table().double())
    for first in (None, start):
        expected, end = loop(e, rate, backward, first)
        # Both sum the same terms in another order: at most `length` roundings of at most the sum of |terms|.
        bound = loop(e.abs(), rate, backward, start.abs())
        eps = torch.finfo(torch.float64).eps
        states = scan(e, backward, first)
        assert ((states - expected).abs() <= (length + 8) * eps * bound[0] + 1e-300).all()
        assert ((scan.end(e, states, backward) - end).abs() <= (length + 8) * eps * bound[1]).all()


def test_a_chunk_has_16_to_32_positions_and_divides_the_length_if_it_can():
    for length in range(33, 400):
        chunk = chunk_length(length)
        assert 16 <= chunk <= 32
        assert length % chunk == 0 or all(length % k for k in range(16, 33))


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("dim", [1, 2, 6, DIM, 100])
def test_the_network_is_that_of_its_formula(options, dim, activation):
    conditioner = dataclasses.replace(options, activation=activation).build(dim, 2).double()
    torch.nn.init.normal_(conditioner.gain)
    x, z = torch.randn(5, dim, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(conditioner(x, z), slow(conditioner, x, z), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("name", ["default", "two-layers", "four-layers"])
def test_no_bit_of_h_i_depends_on_x_i(name, dtype, activation):
    conditioner = dataclasses.replace(CASES[name], activation=activation).build(DIM, 2).to(dtype)
    x, z = torch.randn(2, DIM, dtype=dtype), torch.randn(2, 2, dtype=dtype)
    with torch.no_grad():
        assert leaks(conditioner, x, z, None if name == "default" else SOME) == []


@pytest.mark.parametrize("piece", [16 * 2 * 16, 16 * 2 * 7])
def test_no_bit_leaks_between_pieces(monkeypatch, piece):
    monkeypatch.setattr(module, "PIECE", piece)
    conditioner = ScanConditioner(layers=2).build(DIM)
    with torch.no_grad():
        assert conditioner._pieces(2)[1] < DIM
        assert leaks(conditioner, torch.randn(2, DIM), dimensions=(*SOME, 6, 7, 13, 14)) == []


def test_a_leak_would_be_seen(monkeypatch):
    inclusive = ExclusiveScan.__call__
    monkeypatch.setattr(ExclusiveScan, "__call__", lambda self, e, *rest: inclusive(self, e, *rest) + e)
    assert {i for i, _ in leaks(ScanConditioner().build(5), torch.randn(2, 5))} == set(range(5))


def test_a_sum_minus_the_own_term_would_be_seen(monkeypatch):
    shifted = ExclusiveScan.__call__
    monkeypatch.setattr(ExclusiveScan, "__call__", lambda self, e, *rest: (shifted(self, e, *rest) + e) - e)
    conditioner, x = ScanConditioner().build(5), torch.randn(2, 5)
    assert not jacrev(conditioner)(x[0]).diagonal(dim1=0, dim2=2).any()  # autograd alone is fooled
    assert leaks(conditioner, x)


def test_h_i_depends_on_every_x_j_but_x_i(options):
    conditioner = options.build(DIM).double()
    jacobian = vmap(jacrev(conditioner))(torch.randn(4, DIM, dtype=torch.float64))  # (n, d, features, d)
    assert torch.equal((jacobian != 0).any(0).any(1), ~torch.eye(DIM, dtype=torch.bool))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_ends_of_a_long_state_see_each_other(layers):
    dim = 4096
    conditioner = ScanConditioner(layers=layers).build(dim).double()
    x = torch.randn(dim, dtype=torch.float64)
    jacobian = jacrev(lambda x: conditioner(x)[[0, -1]])(x).abs().amax(1)  # (2, d)
    typical = 1 / dim**0.5  # each of d independent states' share in a feature of scale one
    assert jacobian[0, -1] > 0.05 * typical
    assert jacobian[1, 0] > 0.05 * typical
    assert jacobian[0, 1] > 0.05
    assert jacobian[1, -2] > 0.05
    assert jacobian[0, 0] == jacobian[1, -1] == 0
    assert (jacobian > 0).sum() == 2 * dim - 2


@pytest.mark.parametrize("dim", [6, DIM, 1000])
def test_pieces_of_any_size_give_the_same(monkeypatch, options, dim):
    conditioner = options.build(dim, 2).double()
    x, z = torch.randn(7, dim, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    whole = conditioner(x, z)
    sizes = set()
    for piece in (16 * 5, 1000, 2500, 16 * 7 * 64, 2**18):
        monkeypatch.setattr(module, "PIECE", piece)
        with torch.no_grad():
            sizes.add(conditioner._pieces(7))
            torch.testing.assert_close(conditioner(x, z), whole, rtol=1e-12, atol=1e-12)
    assert len(sizes) > 2


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation holds; views and the final join do not count."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        own = func._schema.returns and not any(r.alias_info for r in func._schema.returns)
        if own and func is not torch.ops.aten.cat.default and isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_temporaries_do_not_grow_with_the_state():
    conditioner = ScanConditioner().build(30_000)
    x = torch.randn(4, 30_000)
    with torch.no_grad(), Largest() as largest:
        conditioner(x)
    assert largest.numbers <= module.PIECE
    with Largest() as largest:  # the same count, where nothing is cut into pieces
        conditioner(x)
    assert largest.numbers == 4 * 30_000 * 16


def test_parameters_are_linear_in_d(options):
    few, more, most = (sum(p.numel() for p in options.build(dim, 2).parameters()) for dim in (10, 1010, 2010))
    assert more - few == most - more == 2000 * (options.width + options.hidden)


def test_any_batch_shape(options):
    conditioner = options.build(DIM, 2).double()
    x, z = torch.randn(4, 3, DIM, dtype=torch.float64), torch.randn(4, 3, 2, dtype=torch.float64)
    h = conditioner(x, z)
    assert h.shape == (4, 3, DIM, options.features)
    assert h.is_contiguous()
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(conditioner(x[1], z[1]), h[1], **close)
    torch.testing.assert_close(conditioner(x[2, 1], z[2, 1]), h[2, 1], **close)
    torch.testing.assert_close(conditioner(x[:, :1], z[:, :1]), h[:, :1], **close)
    torch.testing.assert_close(conditioner(x.mT.contiguous().mT, z), h, **close)
    torch.testing.assert_close(vmap(conditioner)(x, z), h, **close)
    assert conditioner(x[:0], z[:0]).shape == (0, 3, DIM, options.features)
    with torch.no_grad():
        torch.testing.assert_close(vmap(conditioner)(x, z), h, **close)
        assert conditioner(x[:0], z[:0]).shape == (0, 3, DIM, options.features)


def test_an_empty_batch_has_gradients(options):
    conditioner = options.build(DIM)
    conditioner(torch.zeros(0, DIM)).sum().backward()
    assert all(not p.grad.any() for p in conditioner.parameters() if p.grad is not None)


@pytest.mark.parametrize("piece", [2000, 2**18])
def test_rows_do_not_see_each_other(monkeypatch, options, piece):
    monkeypatch.setattr(module, "PIECE", piece)
    conditioner = options.build(DIM)
    x = torch.randn(5, DIM)
    other = x.clone()
    other[[0, 1, 3, 4]] = torch.randn(4, DIM) * 100
    assert torch.equal(conditioner(x)[2], conditioner(other)[2])
    with torch.no_grad():
        assert torch.equal(conditioner(x)[2], conditioner(other)[2])


@pytest.mark.parametrize("piece", [1, 2**18])
def test_forward_derivatives_agree_with_backward_ones(monkeypatch, small, piece):
    monkeypatch.setattr(module, "PIECE", piece)
    conditioner = small.build(DIM).double()
    x, v = torch.randn(2, 3, DIM, dtype=torch.float64)
    expected = torch.einsum("...j,...j", vmap(jacrev(conditioner))(x), v[:, None, None])
    torch.testing.assert_close(jvp(conditioner, (x,), (v,))[1], expected, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(jvp(conditioner, (x,), (v,))[1], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("dim", [4, 33])
def test_derivatives_to_second_order_in_state_conditioning_and_parameters(small, activation, dim):
    conditioner = dataclasses.replace(small, activation=activation).build(dim, 1).double()
    parameters = dict(conditioner.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    flat = torch.cat([p.detach().flatten() for p in parameters.values()]).requires_grad_()
    x = torch.randn(2, dim, dtype=torch.float64, requires_grad=True)
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
    assert [name for name, p in conditioner.named_parameters() if p.numel() and not p.grad.any()] == []


@pytest.mark.parametrize(("name", "dim"), [("one-layer", 33), ("concatenate", 4)])
def test_compiles_as_one_graph(name, dim):
    conditioner = SMALL[name].build(dim, 1)
    x, z = torch.randn(3, dim, requires_grad=True), torch.randn(3, 1)
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


def test_compiles_as_one_graph_without_gradients(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1)
    conditioner, x = ScanConditioner(width=2, hidden=2).build(DIM), torch.randn(3, DIM)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(conditioner, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), conditioner(x))


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus", "relu", "sine", "sigmoid"])
@pytest.mark.parametrize("dim", [2, 16, 256, 4096])
def test_features_start_at_scale_one(dim, activation):
    """The root mean square, over dimensions and features, of the standard deviation over x ~ N(0, I)."""
    nets, rows = (20, 64) if dim < 1000 else (2, 32)
    for layers in (1, 2):
        options = ScanConditioner(layers=layers, activation=activation)
        with torch.no_grad():
            variances = [options.build(dim)(torch.randn(rows, dim)).var(0).mean() for _ in range(nets)]
        assert 0.5 < torch.stack(variances).mean().sqrt() < 2


@pytest.mark.parametrize("dim", [16, 256])
def test_no_position_is_left_behind(dim):
    with torch.no_grad():
        variances = [ScanConditioner().build(dim)(torch.randn(64, dim)).var(0).mean(-1) for _ in range(20)]
    spread = torch.stack(variances).mean(0).sqrt()
    assert spread.min() > 0.5
    assert spread.max() < 2


def test_a_single_state_leaves_features_of_z_alone(options):
    conditioner = options.build(1, 2)
    z = torch.randn(3, 2)
    h = conditioner(torch.randn(3, 1), z)
    assert h.shape == (3, 1, options.features)
    assert h.isfinite().all()
    assert h.any()
    assert torch.equal(h, conditioner(torch.full((3, 1), 1e30), z))
    assert not torch.equal(h, conditioner(torch.randn(3, 1), z + 1))
    assert options.build(1)(torch.randn(1)).any()


def test_conditioning_enters_both_networks(options):
    conditioner = options.build(DIM, 2)
    x, z = torch.randn(4, DIM), torch.randn(4, 2)
    assert (conditioner(x, z) != conditioner(x, z + 1)).any(-1).all()
    with pytest.raises(ModelError, match="needs a conditioning vector of 2"):
        conditioner(x)


def test_decays_stay_finite_whatever_is_learned():
    conditioner = ScanConditioner(layers=2).build(DIM)
    x = torch.randn(3, DIM)
    for value in (-1e4, 1e4):
        torch.nn.init.constant_(conditioner.log_rate, value)
        h = conditioner(x)
        h.sum().backward()
        assert h.isfinite().all()
        assert all(p.grad.isfinite().all() for p in conditioner.parameters())


def test_the_type_of_parameters_is_kept(options):
    for dtype in BITS:
        assert options.build(DIM).to(dtype)(torch.randn(2, DIM, dtype=dtype)).dtype == dtype


def test_options_survive_json_and_name_their_network(options):
    assert isinstance(options, ConditionerOptions)
    assert ScanConditioner(**json.loads(json.dumps(dataclasses.asdict(options)))) == options
    assert hash(options) == hash(dataclasses.replace(options))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.features = 3
    assert type(options.build(DIM)).__name__ == "ScanConditionerModule"


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_a_saved_network_is_restored(options, activation):
    x = torch.randn(3, DIM)
    first, second = (dataclasses.replace(options, activation=activation).build(DIM) for _ in range(2))
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


def test_building_depends_on_the_seed_alone(options):
    def build():
        torch.manual_seed(7)
        return [*options.build(DIM, 1).state_dict().values(), torch.rand(3)]

    assert all(torch.equal(one, other) for one, other in zip(build(), build(), strict=True))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"features": 0}, "features must be an integer of at least 1, got 0"),
        ({"width": 1.5}, "width must be an integer of at least 1, got 1.5"),
        ({"hidden": -1}, "hidden must be an integer of at least 1"),
        ({"layers": True}, "layers must be an integer of at least 1, got True"),
        ({"activation": "step"}, "activation must be one of tanh"),
        ({"modulation": "add"}, "modulation must be one of 'film', 'concatenate', got 'add'"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises(ModelError, match=message):
        ScanConditioner(**bad)


@pytest.mark.parametrize("dim", [0, -1, 2.0, True])
def test_a_dimension_is_a_positive_integer(dim):
    with pytest.raises(ModelError, match="dim must be an integer of at least 1"):
        ScanConditioner().build(dim)

"""How networks are called: the state last, a time that is no bare vector, context by keyword; and their seeds."""

import pytest
import torch
from torch import nn

from pdekit.errors import InputError, ModelError
from pdekit.nets import MLP, ConcatSquashMLP, HollowNet, MaskedConditioner
from pdekit.nets.field import seeded

SMALL = MaskedConditioner(hidden=(4,), features=2)
BUILD = {
    "hollow": lambda d, **k: HollowNet(d, SMALL, **k),
    "hollow-concatenate": lambda d, **k: HollowNet(d, SMALL, modulation="concatenate", **k),
    "mlp": lambda d, **k: MLP(d, (4,), **k),
    "mlp-concatenate": lambda d, **k: MLP(d, (4,), modulation="concatenate", **k),
    "concat-squash": lambda d, **k: ConcatSquashMLP(d, (4,), **k),
}


@pytest.fixture(params=BUILD)
def build(request):
    return BUILD[request.param]


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,), (1,)])
def test_times_and_contexts_of_every_shape(build, batch):
    net = build(3, time=True, context_dim=2).double()
    x = torch.randn(*batch, 3, dtype=torch.float64)
    c = torch.randn(*batch, 2, dtype=torch.float64)
    one = torch.full((*batch, 1), 0.25, dtype=torch.float64)
    f = net(0.25, x, context=c)
    assert f.shape == x.shape
    for t in (torch.tensor(0.25, dtype=torch.float64), torch.tensor(0.25), one, one.float()):
        torch.testing.assert_close(net(t, x, context=c), f)
    torch.testing.assert_close(net(1, x, context=c), net(1.0, x, context=c))
    shared = torch.randn(2, dtype=torch.float64)
    torch.testing.assert_close(net(0.25, x, context=shared), net(0.25, x, context=shared.expand(*batch, 2)))


def test_time_and_context_matter_and_rows_have_their_own(build):
    net = build(3, time=True, context_dim=2)
    x, c = torch.randn(4, 3), torch.randn(4, 2)
    t = torch.arange(4.0).unsqueeze(-1)
    f = net(t, x, context=c)
    assert not torch.isclose(net(t + 1, x, context=c), f).all(-1).any()
    assert not torch.isclose(net(t, x, context=c + 1), f).all(-1).any()
    for k in range(4):
        torch.testing.assert_close(net(float(k), x[k], context=c[k]), f[k])


def test_gradients_reach_time_and_context(build):
    net = build(3, time=True, context_dim=2)
    t, c = torch.tensor(0.5, requires_grad=True), torch.randn(2, requires_grad=True)
    for g in torch.autograd.grad(net(t, torch.randn(4, 3), context=c).sum(), [t, c]):
        assert g.any()


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("context_dim", [0, 2])
def test_it_takes_what_it_was_built_for(build, time, context_dim):
    if not time and not context_dim and build is BUILD["concat-squash"]:
        with pytest.raises(ModelError, match=r"needs a time or a context.*use MLP"):
            build(3, time=False)
        return
    net = build(3, time=time, context_dim=context_dim)
    x, context = torch.randn(4, 3), {"context": torch.randn(4, 2)} if context_dim else {}
    leading = [0.5] if time else []
    assert net(*leading, x, **context).shape == (4, 3)
    with pytest.raises(InputError, match=r"Build it with time=True|Give a time"):
        net(*([] if time else [0.5]), x, **context)
    with pytest.raises(InputError, match="the state last, got 3 arguments"):
        net(0.5, 0.5, x, **context)
    with pytest.raises(InputError, match="got 0 arguments"):
        net(**context)
    if context_dim:
        with pytest.raises(InputError, match=r"needs context=c of shape \(4, 2\) or \(2,\), got none"):
            net(*leading, x)
        with pytest.raises(InputError, match=r"shape \(4, 2\) or \(2,\) for x of shape \(4, 3\), got \(4,\)"):
            net(*leading, x, context=torch.zeros(4))
        with pytest.raises(InputError, match="got list"):
            net(*leading, x, context=[0.0, 1.0])
    else:
        with pytest.raises(InputError, match="takes no context"):
            net(*leading, x, context=torch.zeros(4, 2))


def test_a_bare_vector_of_times_is_refused(build):
    net = build(3, time=True)
    for n in (4, 3, 1):  # 3 would broadcast along the columns
        with pytest.raises(InputError, match=rf"\({n}, 1\) for x of shape \({n}, 3\), got \({n},\).*t.unsqueeze\(-1\)"):
            net(torch.zeros(n), torch.zeros(n, 3))
    with pytest.raises(InputError, match="must be a number or a tensor, got str"):
        net("now", torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 2), r"shape \(\*batch, 3\), got \(4, 2\)"),
        (torch.tensor(0.0), r"shape \(\*batch, 3\), got \(\)"),
        (torch.zeros(4, 3, dtype=torch.long), "floating-point numbers, got torch.int64"),
        (torch.zeros(4, 3, dtype=torch.complex64), "floating-point numbers, got torch.complex64"),
        ([0.0, 1.0, 2.0], "floating-point numbers, got list"),
        (torch.zeros(4, 3, dtype=torch.float64), r"x is torch.float64, the parameters .* are torch.float32.*x.to"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(build, x, message):
    with pytest.raises(InputError, match=message):
        build(3, time=True)(0.0, x)


def test_autocast_may_mix_types(build):
    net, x = build(3, time=True), torch.randn(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(net(0.0, x.bfloat16()).float(), net(0.0, x).float(), rtol=0.1, atol=0.1)
        with pytest.raises(InputError, match=r"x is torch.float64"):
            net(0.0, x.double())


@pytest.mark.parametrize(
    ("dim", "bad", "message"),
    [
        (0, {}, "dim must be an integer of at least 1"),
        (3, {"context_dim": -1}, "context_dim must be an integer of at least 0"),
        (3, {"time": 1}, "time must be True or False"),
    ],
)
def test_bad_options_are_refused(build, dim, bad, message):
    with pytest.raises(ModelError, match=message):
        build(dim, **bad)


def test_a_seed_fixes_the_parameters_and_nothing_else(build):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build(3, time=True, seed=7).state_dict()
    assert torch.equal(torch.rand(3), expected)
    second, third = (build(3, time=True, seed=seed).state_dict() for seed in (7, 8))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], third[name]) for name in first)
    unseeded = build(3, time=True).state_dict()
    assert not any(torch.equal(first[name], unseeded[name]) for name in first)


def test_numbers_of_a_seed_come_from_the_processor():
    with torch.device("meta"), seeded(0):
        numbers = torch.rand(2)
    with seeded(0):
        assert torch.equal(numbers, torch.rand(2))
    with torch.device("meta"):
        assert {p.device.type for p in MLP(3, seed=0).parameters()} == {"meta"}


def test_parameters_are_all_there(build):
    net = build(3, time=True)
    assert net.size() == sum(p.numel() for p in net.parameters())
    assert f"{net.size():,} parameters" in repr(net)
    assert isinstance(net, nn.Module)

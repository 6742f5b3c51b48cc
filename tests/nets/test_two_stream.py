import dataclasses

import pytest
import torch

from pdekit.nets.conditioners.two_stream import CausalStream, HollowTransformerConditioner

DIM = 7


def influence(stream, x):
    """(d, d): which x_j the position i has seen."""
    return (torch.func.jacrev(stream)(x) != 0).any(1)


@pytest.mark.parametrize("layers", [1, 4])
def test_a_stream_has_seen_what_came_before(layers):
    stream = CausalStream(HollowTransformerConditioner(layers=layers), DIM, 0).double()
    before = torch.ones(DIM, DIM).tril(-1).bool()
    assert torch.equal(influence(lambda x: stream(x, None), torch.randn(DIM, dtype=torch.float64)), before)


@pytest.mark.parametrize("layers", [1, 4])
def test_each_position_matches_a_stream_that_was_cut_there(layers):
    """The causal mask, checked without a mask: position i of the whole is the last position of its beginning."""
    options = HollowTransformerConditioner(layers=layers, width=8)
    whole = CausalStream(options, DIM, 0).double()
    x = torch.randn(DIM, dtype=torch.float64)
    for length in range(1, DIM + 1):
        cut = CausalStream(options, length, 0).double()
        cut.load_state_dict(
            {
                name: value[: cut.state_dict()[name].shape[0]] if value.ndim == 2 else value
                for name, value in whole.state_dict().items()
            }
        )
        expected = cut(x[:length], None)[-1]
        torch.testing.assert_close(whole(x, None)[length - 1], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("readout", ["pointwise", "attention"])
def test_both_sides_are_needed(readout):
    conditioner = HollowTransformerConditioner(readout=readout).build(DIM).double()
    sizes = torch.func.jacrev(conditioner)(torch.randn(DIM, dtype=torch.float64)).abs().amax(1)
    assert (sizes + torch.eye(DIM)).min() > 1e-5
    assert torch.equal(sizes.diagonal(), torch.zeros(DIM, dtype=torch.float64))


def test_the_two_sides_interact():
    """d2 h_1 / dx_0 dx_2: the read-out is no sum of a left and a right part."""
    conditioner = HollowTransformerConditioner().build(3).double()
    mixed = torch.func.hessian(lambda x: conditioner(x)[1].sum())(torch.randn(3, dtype=torch.float64))
    assert mixed[0, 2].abs() > 1e-4
    assert mixed[1].abs().max() == 0


def test_attention_in_the_readout_adds_to_the_pointwise_one():
    options = HollowTransformerConditioner()
    x = torch.randn(3, DIM)
    plain = options.build(DIM)
    attentive = dataclasses.replace(options, readout="attention").build(DIM)
    unmatched = attentive.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith(("attention.", "norm.")) for name in unmatched.missing_keys)
    assert not torch.allclose(plain(x), attentive(x), atol=1e-3)
    with torch.no_grad():
        attentive.attention.out.weight.zero_()
        attentive.attention.out.bias.zero_()
    torch.testing.assert_close(plain(x), attentive(x))

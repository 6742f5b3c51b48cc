import pytest
import torch

from pdekit.nets.conditioners.attention import AttentionConditioner
from pdekit.nets.conditioners.two_stream import HollowTransformerConditioner
from pdekit.nets.masked_attention import MaskedAttention, Tokens


def by_hand(attention, queries, sources):
    """The output for each query, computed from the sources that it may see and no others."""
    width = queries.shape[-1]
    size = width // attention.heads
    rows = []
    for i, query in enumerate(queries):
        allowed = [j for j in range(len(sources)) if not attention.blocked[i, j]]
        q, k = attention.query(query), attention.key(sources[allowed])
        v = attention.value(attention.gates[allowed] * sources[allowed])
        heads = []
        for part in (slice(head * size, (head + 1) * size) for head in range(attention.heads)):
            weights = torch.softmax(k[:, part] @ q[part] / size**0.5, 0)
            heads.append(weights @ v[:, part] / weights.norm())
        rows.append(attention.out(torch.cat(heads)))
    return torch.stack(rows)


@pytest.mark.parametrize("heads", [1, 3])
def test_masked_attention_matches_attention_to_what_is_allowed(heads):
    blocked = torch.rand(5, 7) < 0.5
    blocked[:, 0] = False
    attention = MaskedAttention(6, heads, blocked).double()
    queries, sources = torch.randn(5, 6, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    expected = by_hand(attention, queries, sources)
    torch.testing.assert_close(attention(queries, sources), expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(attention(queries.expand(2, 3, 5, 6), sources)[1, 2], expected, rtol=1e-12, atol=1e-13)


def test_a_query_that_may_see_one_source_returns_its_value():
    attention = MaskedAttention(4, 2, ~torch.eye(3, dtype=torch.bool)).double()
    sources = torch.randn(3, 4, dtype=torch.float64)
    values = attention.out(attention.value(attention.gates * sources))
    torch.testing.assert_close(attention(torch.randn(3, 4, dtype=torch.float64), sources), values)


@pytest.mark.parametrize("sources", [1, 30, 3000])
def test_attention_keeps_its_scale_at_any_number_of_sources(sources):
    attention = MaskedAttention(32, 2, torch.zeros(1, sources, dtype=torch.bool))
    with torch.no_grad():
        out = torch.cat([attention(torch.ones(1, 32), torch.randn(sources, 32)) for _ in range(100)])
    assert 0.6 < out.var(0).mean().sqrt() < 1.5


def test_common_values_do_not_add_up():
    """What all sources share must not outgrow what tells them apart."""
    attention = MaskedAttention(32, 2, torch.zeros(1, 3000, dtype=torch.bool))
    with torch.no_grad():
        out = attention(torch.ones(1, 32), torch.ones(3000, 32))
    assert out.square().mean().sqrt() < 3


def test_the_weights_adapt_to_the_state():
    """Additive in the x_j they are not: with one layer through the softmax, with more through the queries too."""
    for layers in (1, 2):
        conditioner = AttentionConditioner(layers=layers).build(3).double()
        mixed = torch.func.hessian(lambda x, c=conditioner: c(x)[0, 0])(torch.randn(3, dtype=torch.float64))
        assert mixed[1, 2].abs() > 1e-4
        assert mixed[0].abs().max() == 0


def test_positions_are_told_apart():
    conditioner = AttentionConditioner().build(4)
    assert not torch.allclose(*conditioner(torch.ones(4))[:2], atol=1e-2)


def test_tokens_see_their_own_state():
    tokens = Tokens(4, 6, "tanh").double()
    jacobian = torch.func.jacrev(tokens)(torch.randn(4, dtype=torch.float64)).abs().sum(1)
    own = torch.cat([torch.zeros(1, 4), torch.eye(4)]).bool()
    assert torch.equal(jacobian != 0, own)


@pytest.mark.parametrize("kind", [AttentionConditioner, HollowTransformerConditioner])
def test_every_layer_has_its_own_parameters(kind):
    sizes = [sum(p.numel() for p in kind(layers=layers).build(5).parameters()) for layers in (1, 2, 3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0

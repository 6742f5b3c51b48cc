import pytest
import torch
from torch import nn
from torch.autograd import gradgradcheck
from torch.func import functional_call, jacrev, vmap

from pdekit.errors import ModelError
from pdekit.nets import MLP, ConcatSquashMLP


@pytest.fixture(params=[MLP, ConcatSquashMLP])
def kind(request):
    return request.param


def test_the_perceptron_is_torchs():
    net = MLP(3, (5, 4), "gelu").double()
    layers = [nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)]
    truth = nn.Sequential(*layers).double()
    with torch.no_grad():
        for mine, its in zip(net.parameters(), truth.parameters(), strict=True):
            its.copy_(mine)
    x = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(net(x), truth(x))


def test_concatenation_is_a_perceptron_of_state_time_and_context():
    net = MLP(3, (5,), time=True, context_dim=2, modulation="concatenate").double()
    first, last = net.layers
    extra = net.modulations[0].network
    x, t, c = (torch.randn(6, k, dtype=torch.float64) for k in (3, 1, 2))
    weight = torch.cat([first.weight, extra.weight], dim=1)
    a = torch.tanh(torch.cat([x, t, c], dim=1) @ weight.mT + first.bias + extra.bias)
    torch.testing.assert_close(net(t, x, context=c), a @ last.weight.mT + last.bias)


def test_concat_squash_is_the_formula_of_its_paper():
    net = ConcatSquashMLP(3, (5,)).double()
    x, t = torch.randn(6, 3, dtype=torch.float64), torch.rand(6, 1, dtype=torch.float64)
    a = x
    for layer in net.layers:
        a = layer.linear(a) * torch.sigmoid(t * layer.gate.weight.mT + layer.gate.bias) + t * layer.shift.weight.mT
        a = torch.tanh(a) if layer is net.layers[0] else a
    torch.testing.assert_close(net(t, x), a)


@pytest.mark.parametrize(("out_dim", "shape"), [(None, (6, 3)), (1, (6, 1)), (7, (6, 7)), (0, (6,)), ("scalar", (6,))])
def test_the_number_of_outputs(kind, out_dim, shape):
    net = kind(3, (4,), out_dim=out_dim, time=True)
    assert net(0.5, torch.zeros(6, 3)).shape == shape
    assert net(0.5, torch.zeros(3)).shape == shape[1:]
    assert net(0.5, torch.zeros(0, 3)).shape == (0, *shape[1:])


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("dim", [1, 16, 1024])
def test_values_start_at_scale_one(kind, dim, activation):
    with torch.no_grad():
        nets = [kind(dim, activation=activation, time=True) for _ in range(10)]
        variances = [net(0.5, torch.randn(200, dim)).var() for net in nets]
    assert 0.5 < torch.stack(variances).mean().sqrt() < 2


def test_every_output_depends_on_every_state(kind):
    net = kind(4, time=True).double()
    jacobian = vmap(jacrev(lambda x: net(0.5, x)))(torch.randn(2, 4, dtype=torch.float64))
    assert jacobian.all()


def test_derivatives_to_second_order(kind):
    net = kind(2, (3,), time=True).double()
    names, values = zip(*net.named_parameters(), strict=True)
    leaves = [
        torch.randn(2, 1, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 2, dtype=torch.float64, requires_grad=True),
        *(value.detach().clone().requires_grad_() for value in values),
    ]

    def f(t, x, *values):
        return functional_call(net, dict(zip(names, values, strict=True)), (t, x))

    assert gradgradcheck(f, leaves, fast_mode=True)


def test_every_parameter_is_trained(kind):
    net = kind(3, time=True, context_dim=1).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    net(torch.rand(20, 1), x, context=torch.rand(20, 1)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.all()] == []


def test_compiles_as_one_graph(kind):
    net = kind(3, (4,), time=True, context_dim=1)
    t, x, c = torch.tensor(0.3), torch.randn(5, 3), torch.randn(1)
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(t, x, context=c), net(t, x, context=c))
    torch.testing.assert_close(compiled(0.3, x, context=c), net(0.3, x, context=c))


def test_it_is_shown_by_its_arguments():
    assert repr(MLP(3, (8,), time=True, modulation="concatenate")) == (
        "MLP(dim=3, hidden=(8,), activation='tanh', out_dim=3, time=True, context_dim=0, modulation='concatenate'), "
        "75 parameters"
    )
    assert repr(ConcatSquashMLP(2, (8,), out_dim=0)).startswith("ConcatSquashMLP(dim=2, hidden=(8,), ")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"hidden": (0,)}, r"hidden\[0\] must be an integer of at least 1"),
        ({"hidden": 64}, "hidden must be a tuple"),
        ({"activation": "step"}, "activation must be one of"),
        ({"out_dim": -1}, "out_dim must be an integer of at least 0"),
        ({"out_dim": "vector"}, "out_dim must be an integer, None for dim, or 'scalar', got 'vector'"),
    ],
)
def test_bad_options_are_refused(kind, bad, message):
    with pytest.raises(ModelError, match=message):
        kind(3, **bad)


def test_modulation_has_two_kinds():
    with pytest.raises(ModelError, match="modulation must be one of"):
        MLP(3, modulation="gate")

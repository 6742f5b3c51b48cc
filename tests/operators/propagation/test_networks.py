"""Laplacians and divergences of networks as people build them, against reverse mode of torch.func."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, parametrize

from pdekit.errors import OperatorError
from pdekit.operators import biharmonic, divergence, laplacian

# Said by torch.func, which computes the truth here.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
D = 4  # the state
SERIES = ("dense", "compressed")


class Function(nn.Module):
    """A function as a module, holding whatever modules it uses."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def mlp(activation, width=6):
    return nn.Sequential(nn.Linear(D, width), activation, nn.Linear(width, width), activation, nn.Linear(width, D))


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(1.3 * x)


class Double(nn.Module):
    def forward(self, weight):
        return 2 * torch.tanh(weight)


ACTIVATIONS = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu-tanh": nn.GELU("tanh"),
    "softplus": nn.Softplus(),
    "softplus-beta": nn.Softplus(beta=2.5, threshold=3.0),
    "mish": nn.Mish(),
    "elu": nn.ELU(),
    "celu": nn.CELU(alpha=0.5),
    "softsign": nn.Softsign(),
    "tanhshrink": nn.Tanhshrink(),
    "logsigmoid": nn.LogSigmoid(),
    "sine": Sine(),
    "softmax": nn.Softmax(-1),
    "logsoftmax": nn.LogSoftmax(-1),
    "identity": nn.Identity(),
    "dropout": nn.Dropout(0.5),
}
KINKED = {
    "relu": nn.ReLU(),
    "leaky-relu": nn.LeakyReLU(0.2),
    "relu6": nn.ReLU6(),
    "prelu": nn.PReLU(),
    "rrelu": nn.RReLU(),
    "elu-alpha": nn.ELU(0.5),
    "selu": nn.SELU(),
    "hardtanh": nn.Hardtanh(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "hardshrink": nn.Hardshrink(0.1),
    "softshrink": nn.Softshrink(0.1),
    "threshold": nn.Threshold(0.1, 0.2),
}


def image_net(*layers, channels=2, size=D):
    """(n, D) -> (n, channels, size) -> layers -> (n, D)."""
    return Function(
        lambda m, x: m.out(
            m.body(m.into(x).unflatten(-1, (channels, size)) if channels > 1 else x.unsqueeze(1)).flatten(1)
        ),
        into=nn.Linear(D, channels * size),
        body=nn.Sequential(*layers),
        out=nn.LazyLinear(D),
    )


def plane_net(*layers):
    return Function(
        lambda m, x: m.out(m.body(m.into(x).unflatten(-1, (2, 4, 4))).flatten(1)),
        into=nn.Linear(D, 32),
        body=nn.Sequential(*layers),
        out=nn.LazyLinear(D),
    )


def tokens(body, width=4):
    """Each number of the state a token with a position: (n, D) -> (n, D, width) -> body -> (n, D)."""
    return Function(
        lambda m, x: m.out(m.body(m.into(x.unsqueeze(-1)) + m.position(torch.arange(D)))).squeeze(-1),
        into=nn.Linear(1, width),
        position=nn.Embedding(D, width),
        body=body,
        out=nn.Linear(width, 1),
    )


def attention(width=4, **kwargs):
    return Function(lambda m, z: m.layer(z, z, z, **kwargs)[0], layer=nn.MultiheadAttention(width, 2, batch_first=True))


def einsum_attention(m, z):
    q, k, v = m.qkv(z).chunk(3, -1)
    weights = torch.einsum("bid,bjd->bij", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("bij,bjd->bid", weights, v)


def masked_attention(m, z):
    q, k, v = m.qkv(z).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
    mask = torch.ones(D, D, dtype=torch.bool).tril(1)
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = out + functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).flatten(2)


def unrolled(cell, width=5):
    def run(m, x):
        state = torch.zeros(x.shape[0], width, dtype=x.dtype)
        state = (state, state) if isinstance(m.cell, nn.LSTMCell) else state
        for column in x.split(1, -1):
            state = m.cell(column, state)
        return m.out(state[0] if isinstance(state, tuple) else state)

    return Function(run, cell=cell, out=nn.Linear(width, D))


def dense_net(m, x):
    h = torch.tanh(m.first(x))
    h = torch.cat([x, h], -1)
    h = torch.cat([h, torch.tanh(m.second(h))], -1)
    return m.out(h)


def dense_net_modules():
    return {"first": nn.Linear(D, 3), "second": nn.Linear(D + 3, 3), "out": nn.Linear(D + 6, D)}


def residual(m, x):
    h = m.into(x)
    for layer in m.layers:
        h = h + layer(torch.tanh(layer(h)))
    return x + m.out(h)


def fourier(m, x):
    angles = 2 * math.pi * x @ m.frequencies.weight.t()
    return m.body(torch.cat([angles.cos(), angles.sin()], -1))


def hypernetwork(m, x):
    weights = m.into(x).unflatten(-1, (D, D))
    return torch.einsum("bij,bj->bi", weights, torch.tanh(x))


def mixture(m, x):
    """Log density of a mixture of normal distributions."""
    z = (x.unsqueeze(-2) - m.centres.weight) * torch.exp(-m.scales.weight)
    return torch.logsumexp(-0.5 * (z**2).sum(-1) - m.scales.weight.sum(-1), -1, keepdim=True) * x


def slater(m, x):
    """Determinants of orbitals, as of electrons in quantum chemistry."""
    orbitals = torch.stack([m.into(x).unflatten(-1, (2, D)).tanh().sum(-2) * (x.roll(i, -1)) for i in range(D)], -1)
    sign, logarithm = torch.linalg.slogdet(orbitals + 3 * torch.eye(D, dtype=x.dtype))
    return logarithm.unsqueeze(-1) * sign.unsqueeze(-1) * x


NETWORKS = {
    **{f"mlp-{name}": (lambda a=activation: mlp(a)) for name, activation in ACTIVATIONS.items()},
    "glu": lambda: nn.Sequential(nn.Linear(D, 8), nn.GLU(), nn.Linear(4, D)),
    "residual": lambda: Function(
        residual, into=nn.Linear(D, 5), layers=nn.ModuleList([nn.Linear(5, 5)] * 2), out=nn.Linear(5, D)
    ),
    "dense-net": lambda: Function(dense_net, **dense_net_modules()),
    "layer-norm": lambda: nn.Sequential(nn.Linear(D, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, D)),
    "layer-norm-first": lambda: nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, D)),
    "rms-norm": lambda: nn.Sequential(nn.Linear(D, 6), nn.RMSNorm(6), nn.Tanh(), nn.Linear(6, D)),
    "batch-norm": lambda: nn.Sequential(nn.Linear(D, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, D)),
    "group-norm": lambda: image_net(nn.GroupNorm(1, 2), nn.Tanh()),
    "instance-norm": lambda: image_net(nn.InstanceNorm1d(2, affine=True), nn.Tanh()),
    "conv1d": lambda: image_net(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Conv1d(3, 2, 2)),
    "conv1d-of-state": lambda: image_net(nn.Conv1d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv1d(3, 2, 2), channels=1),
    "conv1d-circular": lambda: image_net(nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), nn.Tanh()),
    "conv1d-reflect": lambda: image_net(nn.Conv1d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Tanh()),
    "conv1d-replicate": lambda: image_net(nn.Conv1d(2, 3, 3, padding="same", padding_mode="replicate"), nn.Tanh()),
    "conv-transpose1d": lambda: image_net(nn.ConvTranspose1d(2, 3, 3, stride=2), nn.Tanh()),
    "conv2d": lambda: plane_net(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(3, 2, 2)),
    "conv2d-circular": lambda: plane_net(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular", groups=2), nn.Tanh()),
    "conv-transpose2d": lambda: plane_net(nn.ConvTranspose2d(2, 1, 2, stride=2), nn.Tanh()),
    "pooling": lambda: plane_net(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
    "max-pooling": lambda: plane_net(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2)),
    "upsampling": lambda: plane_net(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Tanh(), nn.PixelUnshuffle(2)),
    "batch-norm2d": lambda: plane_net(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh()),
    "attention": lambda: tokens(attention(need_weights=False)),
    "attention-weights": lambda: tokens(attention()),
    "attention-mask": lambda: tokens(attention(attn_mask=torch.ones(D, D).triu(1).bool())),
    "encoder-layer": lambda: tokens(nn.TransformerEncoderLayer(8, 2, 6, batch_first=True, activation="gelu"), 8),
    "encoder-layer-first": lambda: tokens(
        nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation=functional.silu, norm_first=True)
    ),
    "encoder": lambda: tokens(
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation=torch.tanh, norm_first=True),
            2,
            norm=nn.LayerNorm(4),
            enable_nested_tensor=False,
        )
    ),
    "decoder-layer": lambda: tokens(
        Function(
            lambda m, z: m.layer(z, z, tgt_mask=nn.Transformer.generate_square_subsequent_mask(D, dtype=z.dtype)),
            layer=nn.TransformerDecoderLayer(4, 2, 6, batch_first=True, activation=torch.tanh),
        )
    ),
    "sdpa-mask": lambda: tokens(Function(masked_attention, qkv=nn.Linear(4, 12))),
    "einsum-attention": lambda: tokens(Function(einsum_attention, qkv=nn.Linear(4, 12))),
    "bilinear": lambda: Function(lambda m, x: m.layer(torch.tanh(x), x), layer=nn.Bilinear(D, D, D)),
    "fourier": lambda: Function(
        fourier, frequencies=nn.Linear(D, 3), body=nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, D))
    ),
    "product": lambda: Function(
        lambda m, x: m.a(x) * torch.exp(-(x**2).sum(-1, keepdim=True)) * m.b(x), a=mlp(nn.Tanh()), b=mlp(nn.SiLU())
    ),
    "hypernetwork": lambda: Function(hypernetwork, into=nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, D * D))),
    "mixture": lambda: Function(mixture, centres=nn.Embedding(3, D), scales=nn.Embedding(3, D)),
    "slater": lambda: Function(slater, into=nn.Linear(D, 2 * D)),
    "weight-norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(D, 5)), nn.Tanh(), nn.Linear(5, D)),
    "spectral-norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(D, 5)), nn.Tanh(), nn.Linear(5, D)),
    "orthogonal": lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(D, D)), nn.Tanh(), nn.Linear(D, D)),
    "parametrized": lambda: nn.Sequential(_parametrized(nn.Linear(D, 5)), nn.Tanh(), nn.Linear(5, D)),
    "rnn-cell": lambda: unrolled(nn.RNNCell(1, 5)),
    "gru-cell": lambda: unrolled(nn.GRUCell(1, 5)),
    "lstm-cell": lambda: unrolled(nn.LSTMCell(1, 5)),
    "sorted": lambda: Function(lambda m, x: m.body(x.sort(-1).values * x.amax(-1, keepdim=True)), body=mlp(nn.Tanh())),
    "gated": lambda: Function(lambda m, x: torch.where(x > 0, m.a(x), m.b(x)), a=mlp(nn.Tanh()), b=mlp(nn.SiLU())),
    "functional-call": lambda: Function(
        lambda m, x: functional_call(m.body, {k: 0.5 * p for k, p in m.body.named_parameters()}, (x,)),
        body=mlp(nn.Tanh()),
    ),
    "in-place": lambda: nn.Sequential(nn.Linear(D, 5), nn.SiLU(inplace=True), nn.Linear(5, D)),
    "assignment": lambda: Function(_assigned, body=mlp(nn.Tanh())),
    "lstm": lambda: Function(
        lambda m, x: m.out(m.body(x.unsqueeze(-1))[0].flatten(1)),
        body=nn.LSTM(1, 2, batch_first=True),
        out=nn.Linear(2 * D, D),
    ),
    "branch-on-type": lambda: Function(
        lambda m, x: m.body(x) if isinstance(x, torch.Tensor) else 3 * m.body(x), body=mlp(nn.Tanh())
    ),
}
NESTED = {"in-place", "assignment", "lstm", "branch-on-type"}  # what series must leave to autograd


def _parametrized(layer):
    parametrize.register_parametrization(layer, "weight", Double())
    return layer


def _assigned(m, x):
    out = torch.empty_like(m.body(x))
    out[..., 0] = x.prod(-1)
    out[..., 1:] = m.body(x)[..., 1:]
    return out


def built(name):
    torch.manual_seed(1)
    network = NETWORKS[name]()
    network.double()
    network(torch.randn(2, D, dtype=torch.float64))  # lazy layers take their shape
    return network.double().eval()


def rowwise(network):
    return lambda row: network(row.unsqueeze(0)).squeeze(0)


def jacobians(network, x):
    with sdpa_kernel(SDPBackend.MATH):
        return torch.stack([jacrev(rowwise(network))(row) for row in x])


def laplacians(network, x):
    # Reverse mode twice: forward mode inside forward mode is wrong for layer_norm (pytorch issue 198017).
    with sdpa_kernel(SDPBackend.MATH):
        hessians = torch.stack([jacrev(jacrev(rowwise(network)))(row) for row in x])
    return hessians.diagonal(dim1=-2, dim2=-1).sum(-1)


def close(found, expected, factor=1e3):
    """Equal up to the rounding of some hundred operations, each of the size of the largest entry."""
    scale = 1 + expected.abs().max()
    assert found.shape == expected.shape
    assert float((found - expected).detach().abs().max()) <= factor * torch.finfo(expected.dtype).eps * float(
        scale.detach()
    )


def state(n=3):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_laplacian(name):
    network, x = built(name), state()
    result = laplacian(network, full_output=True)(x)
    close(result.value, laplacians(network, x))
    close(result.output, network(x))
    assert (result.plan.route in SERIES) == (name not in NESTED)


@pytest.mark.parametrize("name", NETWORKS)
def test_divergence(name):
    network, x = built(name), state()
    result = divergence(network, full_output=True)(x)
    close(result.value, jacobians(network, x).diagonal(dim1=-2, dim2=-1).sum(-1))
    assert (result.plan.route in SERIES) == (name not in NESTED)


@pytest.mark.parametrize("name", KINKED)
def test_kinked_activations(name):
    network, x = mlp(KINKED[name]).double().eval(), state()
    close(divergence(network)(x), jacobians(network, x).diagonal(dim1=-2, dim2=-1).sum(-1))
    with pytest.raises(OperatorError, match="has no second derivative"):
        laplacian(network)(x)


@pytest.mark.parametrize("name", ["mlp-gelu", "attention-weights", "conv1d-circular", "slater", "mixture", "product"])
def test_biharmonic(name):
    network, x = built(name), state(1)
    inner = lambda row: laplacians(network, row.unsqueeze(0)).squeeze(0)  # noqa: E731
    expected = torch.stack([jacrev(jacrev(inner))(row).diagonal(dim1=-2, dim2=-1).sum(-1) for row in x])
    close(biharmonic(network)(x), expected, 1e5)


def test_radial_basis():
    # torch's reverse derivative of cdist is wrong under vmap, and has no second one.
    centres = torch.randn(3, D, dtype=torch.float64)
    u = lambda x: torch.exp(-torch.cdist(x, centres)).sum(-1, keepdim=True)  # noqa: E731
    plain = lambda x: torch.exp(-(x.unsqueeze(-2) - centres).norm(dim=-1)).sum(-1, keepdim=True)  # noqa: E731
    close(laplacian(u)(state()), laplacians(plain, state()))


COMPILED = [
    "mlp-gelu-tanh",
    "residual",
    "dense-net",
    "layer-norm",
    "conv1d-circular",
    "encoder-layer-first",
    "einsum-attention",
    "gru-cell",
    "mixture",
    "gated",
]


@pytest.mark.parametrize(
    "name", [n if i % 4 == 0 else pytest.param(n, marks=pytest.mark.slow) for i, n in enumerate(COMPILED)]
)
def test_compiled(name):
    torch._dynamo.reset()
    network, x = built(name), state()
    compiled = torch.compile(laplacian(network), fullgraph=True, backend="aot_eager")
    close(compiled(x), laplacians(network, x))

"""The peers on the same weights: torch-jet's collapsed Taylor mode, and folx's forward Laplacian jitted by JAX."""

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn, vmap

from benchmarks.environment import version

JET_MISSING = "torch-jet can't be imported; see benchmarks/README.md"
FOLX_MISSING = "folx is not installed; it comes with the extra [bench]"


def torch_jet() -> ModuleType | None:
    """The package `jet`, if it can be imported and is torch-jet."""
    try:
        package = import_module("jet")
        import_module("jet.laplacian")
    except ImportError:
        return None
    return package


def torch_jet_version() -> str:
    """Its version, or for a plain folder the first digits of the digest of its sources."""
    installed, package = version("jet-for-pytorch"), torch_jet()
    if installed or package is None or package.__file__ is None:
        return f"torch-jet {installed}"
    digest = hashlib.sha256()
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return f"torch-jet, sources {digest.hexdigest()[:12]}"


def folx() -> ModuleType | None:
    """The package folx, if it is installed."""
    try:
        return import_module("folx")
    except ImportError:
        return None


def jet_laplacian(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """torch-jet's collapsed Laplacian of a scalar net at a batch; tracing happens here."""
    simplify = import_module("jet.simplify").simplify
    transform = import_module("jet.laplacian").laplacian(net, x[0])
    batched = vmap(simplify(transform, x[0], pull_sum=True))
    return lambda: batched(x)[2].squeeze(-1)


def jet_bilaplacian(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """torch-jet's collapsed biharmonic operator of a scalar net at a batch."""
    simplify = import_module("jet.simplify").simplify
    transform = import_module("jet.bilaplacian").bilaplacian(net, x[0])
    batched = vmap(simplify(transform, x[0], pull_sum=True))
    return lambda: batched(x).squeeze(-1)


def folx_laplacian(net: nn.Sequential, x: Tensor, *, times: int = 1) -> Callable[[], Any]:
    """folx's Laplacian, applied `times` times, of a scalar tanh perceptron at a batch, jitted."""
    import jax
    from jax import numpy as jnp

    forward_laplacian = import_module("folx").forward_laplacian
    layers = [
        (jnp.asarray(layer.weight.detach().numpy()), jnp.asarray(layer.bias.detach().numpy()))
        for layer in net
        if isinstance(layer, nn.Linear)
    ]

    def function(weights: Any, row: Any) -> Any:
        *hidden, (last, bias) = weights
        for weight, shift in hidden:
            row = jnp.tanh(weight @ row + shift)
        return (last @ row + bias)[0]

    def applied(weights: Any, row: Any) -> Any:
        u = lambda row: function(weights, row)  # noqa: E731
        for _ in range(times):
            u = lambda row, u=u: forward_laplacian(u)(row).laplacian  # noqa: E731
        return u(row)

    compiled, state = jax.jit(jax.vmap(applied, (None, 0))), jnp.asarray(x.numpy())
    return lambda: compiled(layers, state).block_until_ready()

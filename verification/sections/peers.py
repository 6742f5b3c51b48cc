"""Peers through the same matrix, where they can be imported: torch.func, torch-jet and folx."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from pdekit.testing import specifications as spec
from pdekit.testing.functions import TIME
from pdekit.testing.matrix import Progress, Subject, run_matrix
from verification.evidence import Finding
from verification.level import Level
from verification.sections.operators import findings

TITLE = "Peers through the same matrix"


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """One finding per cell; nothing here is judged."""
    examples = min(level.examples, 200)
    tried = [*_torch_func(), *_torch_jet(), *_folx()]
    cells = run_matrix(tried, examples=examples, compiled=0, device=device, progress=progress)
    absent = [name for name, module in (("torch-jet", "jet"), ("folx", "folx")) if find_spec(module) is None]
    missing = [Finding(name, "not installed", 0, "absent", "", None) for name in absent]
    return [*findings(cells, ours=False), *missing]


def _torch_func() -> list[Subject]:
    def divergence(f: Any) -> Callable[..., Tensor]:
        return lambda *a: _rows(jacrev, f, a).diagonal(dim1=-2, dim2=-1).sum(-1)

    def laplacian(u: Any) -> Callable[..., Tensor]:
        return lambda *a: _rows(hessian, u, a).diagonal(dim1=-2, dim2=-1).sum(-1)

    return [
        Subject(spec.divergence, "torch.func.jacrev", divergence, ("columns",), compiles=False),
        Subject(spec.laplacian, "torch.func.hessian", laplacian, ("columns",), compiles=False),
    ]


def _rows(transform: Any, f: Any, arguments: tuple[Any, ...]) -> Tensor:
    *leading, x = arguments
    return vmap(transform(lambda row: f(*leading, row)))(x)


def _torch_jet() -> list[Subject]:
    if find_spec("jet") is None:
        return []
    from jet.laplacian import laplacian as jet_laplacian  # type: ignore[import-not-found]

    def laplacian(u: Any) -> Callable[..., Tensor]:
        return lambda *a: _collapsed(jet_laplacian, u, a)

    return [Subject(spec.laplacian, "torch-jet", laplacian, ("columns",), compiles=False)]


def _collapsed(jet_laplacian: Any, u: Any, arguments: tuple[Any, ...]) -> Tensor:
    *leading, x = arguments
    row = lambda z: u(*leading, z)  # noqa: E731
    return vmap(lambda z: jet_laplacian(row, z)(z)[2])(x)


def _folx() -> list[Subject]:
    if find_spec("folx") is None or find_spec("jax") is None:
        return []
    by_formula = replace(spec.laplacian, applies=lambda operator, trial, f: operator(trial))
    return [Subject(by_formula, "folx", _folx_laplacian, ("columns",), compiles=False)]


def _folx_laplacian(trial: Any) -> Callable[..., Tensor]:
    """folx on the same formula, written for JAX by SymPy."""
    import jax
    import sympy
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    forward_laplacian = import_module("folx").forward_laplacian
    formula = sympy.lambdify([*trial.function.state, TIME], trial.function.expression, "jax")

    def at(*arguments: Any) -> Tensor:
        *leading, x = arguments
        time = jnp.asarray(leading[0].numpy()) if leading else 0.0
        operator = forward_laplacian(lambda row: formula(*row, time) + 0 * row[0])
        values = [float(operator(jnp.asarray(row)).laplacian) for row in x.numpy()]
        return torch.tensor(values, dtype=x.dtype)

    return at

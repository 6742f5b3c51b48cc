"""Where rules are registered: every spelling of a torch function (torch.f, Tensor.f, functional.f) gets the same rule."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from pdekit.operators.propagation.jet import RULES

_Rule = TypeVar("_Rule", bound=Callable[..., Any])
_HOMES = (torch, Tensor, torch.nn.functional, torch.special, torch.linalg)


def spellings(name: str) -> list[Callable[..., Any]]:
    """Every torch callable of that name."""
    found = [getattr(home, name) for home in _HOMES if callable(getattr(home, name, None))]
    if not found:
        raise LookupError(f"torch has no function called {name!r}")
    return found


def register(rule: Callable[..., Any], *names: str) -> None:
    """Makes `rule(run, *args, **kwargs)` the rule of all torch functions of these names."""
    for name in names:
        for function in spellings(name):
            RULES[function] = rule


def rule(*names: str) -> Callable[[_Rule], _Rule]:
    """Decorator form of `register`."""

    def decorate(function: _Rule) -> _Rule:
        register(function, *names)
        return function

    return decorate

"""Where rules are registered: all spellings of a torch function (torch.f, Tensor.f, functional.f) get the same rule."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from pdekit.operators.propagation.jet import RULES, Unsupported, key

_Rule = TypeVar("_Rule", bound=Callable[..., Any])
_HOMES = (torch, Tensor, torch.nn.functional, torch.special, torch.linalg)
_ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's names, which torch takes as well
_POSITIONS = (("input", 0), ("other", 1))  # torch's names of arguments that rules take by position


def spellings(name: str) -> list[Callable[..., Any]]:
    """Every torch callable of that name."""
    found = [getattr(home, name) for home in _HOMES if callable(getattr(home, name, None))]
    if not found:
        raise LookupError(f"torch has no function called {name!r}")
    return found


def register(rule: Callable[..., Any], *targets: str | Callable[..., Any]) -> None:
    """Makes `rule(run, *args, **kwargs)` the rule of torch functions.

    Args:
        rule: The rule.
        targets: Names, each for all its spellings, or functions where spellings differ in their arguments.
    """
    follow = _with_torch_keywords(rule)
    for target in targets:
        for function in spellings(target) if isinstance(target, str) else [target]:
            RULES[key(function)] = _without_flags(function, follow)


def rule(*targets: str | Callable[..., Any]) -> Callable[[_Rule], _Rule]:
    """Decorator form of `register`."""

    def decorate(function: _Rule) -> _Rule:
        register(function, *targets)
        return function

    return decorate


def _without_flags(function: Callable[..., Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule for calls that give `inplace` or `_stacklevel` by position, which compiled graphs pass on."""
    if getattr(function, "__module__", None) != torch.nn.functional.__name__ or not inspect.isfunction(function):
        return rule
    names = list(inspect.signature(function).parameters)
    flags = [i for i, name in enumerate(names) if name in ("inplace", "_stacklevel")]
    if not flags:
        return rule

    def follow(run: Any, *args: Any, **kwargs: Any) -> Any:
        if any(names[i] == "inplace" and args[i] for i in flags if i < len(args)):
            raise Unsupported("a function that writes into a tensor")
        if len(args) <= flags[0]:
            return rule(run, *args, **kwargs)
        later = {names[i]: z for i, z in enumerate(args) if i > flags[0] and i not in flags}
        return rule(run, *args[: flags[0]], **later, **kwargs)

    return follow


def _with_torch_keywords(rule: Callable[..., Any]) -> Callable[..., Any]:
    own = frozenset(inspect.signature(rule).parameters)

    def follow(run: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            args, kwargs = _translated(own, args, kwargs)
        return rule(run, *args, **kwargs)

    return follow


def _translated(own: frozenset[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    kwargs = {_ALIASES.get(key, key): z for key, z in kwargs.items()}
    kwargs.pop("_stacklevel", None)
    if kwargs.pop("out", None) is not None or kwargs.pop("inplace", False):
        raise Unsupported("a function that writes into a tensor")
    for name, position in _POSITIONS:
        if name in kwargs and name not in own:
            args = (*args[:position], kwargs.pop(name), *args[position:])
    return args, kwargs

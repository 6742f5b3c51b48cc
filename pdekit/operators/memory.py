"""What was found out about a function once, remembered as long as the function and what it closes over live."""

import functools
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.operators.operator import Operator

_CAPACITY = 4096
_MOST = 64  # objects that are looked at
# What a function may hold without being another kind of function when it changes.
_DATA = (
    *(Tensor, int, float, complex, str, bytes, set, frozenset, range, slice, type(None), np.ndarray, np.generic),
    *(torch.dtype, torch.device, type, types.ModuleType),
)


class Entry:
    """What is remembered about one function."""

    def __init__(self, memory: "Memory", key: tuple[Any, ...], owners: list[Any]) -> None:
        self._memory, self._key, self._owners = memory, key, owners
        references, self.value = memory.entries.get(key, ((), None))
        self.known = bool(references) and all(r() is z for r, z in zip(references, owners, strict=True))

    def keep(self, value: Any) -> None:
        """Remembers `value`, unless something the function holds does not tell when it dies."""
        try:
            references = tuple(weakref.ref(z) for z in self._owners)
        except TypeError:
            return
        if len(self._memory.entries) >= _CAPACITY:
            self._memory.entries.clear()
        self._memory.entries[self._key] = (references, value)


class Memory:
    """Findings about functions.

    A lambda made anew in every step of a loop is the same function as long as its code and the modules and objects that
    it uses are the same: those it closes over, its defaults, and globals. A module in training mode is another function
    than in evaluation. Tensors and numbers may change.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[Any, ...], tuple[tuple[weakref.ref[Any], ...], Any]] = {}

    def about(self, function: Any, *subject: Any) -> Entry:
        """What is known of `function` on a subject."""
        parts = _Parts()
        parts.add(function)
        key = (*subject, *((id(z), label) for z, label in parts.found), *parts.flags)
        return Entry(self, key, [z for z, _ in parts.found])


class _Parts:
    """The objects that make something the function it is, each with what else of it matters."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, Any]] = []
        self.flags: list[Any] = []  # switches that a function holds
        self._seen: set[int] = set()

    def add(self, z: Any) -> None:
        if isinstance(z, bool | str):
            self.flags.append(z)
        if isinstance(z, _DATA) or id(z) in self._seen or len(self.found) > _MOST:
            return
        self._seen.add(id(z))
        if isinstance(z, list | tuple | dict):
            self._all(list(z.values() if isinstance(z, dict) else z)[:_MOST])
        elif isinstance(z, types.FunctionType):
            self.found.append((z.__code__, None))
            self._all(_held(z))
        elif isinstance(z, functools.partial):
            self._all((z.func, z.args, z.keywords))
        elif isinstance(z, Operator):
            self._all((z.function, z._compute))
        elif isinstance(z, types.MethodType):
            self.found.append((z.__self__, (z.__name__, *_switches(z.__self__))))
        else:
            self.found.append((z, _switches(z)))

    def _all(self, items: Iterable[Any]) -> None:
        for item in items:
            self.add(item)


def _switches(z: Any) -> tuple[Any, ...]:
    """The attributes of an object that may make it another function: `training` of a module, modes by name."""
    attributes = getattr(z, "__dict__", None)
    if not isinstance(attributes, dict):
        return ()
    return tuple((key, value) for key, value in attributes.items() if isinstance(value, bool | str))


def _held(function: types.FunctionType) -> Iterator[Any]:
    """What a function uses from outside: closure, defaults and globals."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[str, ...]:
    """The names that a function looks up outside itself, and those of functions defined in it."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names(c)]
    return tuple(dict.fromkeys((*code.co_names, *inner)))

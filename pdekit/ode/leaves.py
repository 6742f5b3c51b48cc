"""The tensors that a value depends on, and whether they are still what they were."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.autograd import Function

from pdekit.errors import InputError


def leaves(value: Tensor, known: Iterable[Tensor] = ()) -> Iterator[Tensor]:
    """The leaves of a value's graph that want gradients, but for the known ones and what only these depend on."""
    stop: set[Any] = set()
    for p in known:
        stop |= {id(p), p.grad_fn}
    stack, seen = [value.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen or node in stop:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in stop:
            yield leaf
        stack += [following for following, _ in node.next_functions]


def unchanged(states: Tensor, slope: Tensor) -> Tensor:
    """The same states, whose gradients are refused if a leaf of the slope's graph has changed by then.

    Steps that are made again, and Jacobians of implicit ones, are evaluated when gradients come back.
    """
    versions = [(leaf, leaf._version) for leaf in leaves(slope)]
    return _Unchanged.apply(states, versions) if versions and states.requires_grad else states  # type: ignore[return-value]


class _Unchanged(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, versions: list[tuple[Tensor, int]]) -> Tensor:
        ctx.versions = versions
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        changed = [tuple(leaf.shape) for leaf, version in ctx.versions if leaf._version != version]
        if changed:
            raise InputError(
                f"A tensor of shape {changed[0]} that f depends on was changed after the integration: these gradients "
                "would be of another f. Call backward() before the optimiser's step, or integrate again."
            )
        return grads[0], None


__all__ = ["leaves", "unchanged"]

"""The tensors that a value depends on, and whether they are still what they were."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Guard:
    """Refuses gradients when a leaf has changed since.

    Steps that are made again, and Jacobians of implicit ones, are evaluated when gradients come back.

    Args:
        versions: Leaves, each with the number of its changes so far.
    """

    versions: list[tuple[Tensor, int]]

    @classmethod
    def over(cls, *values: Tensor) -> "Guard":
        """A guard of all leaves that these values depend on."""
        found = {id(leaf): leaf for value in values for leaf in leaves(value)}
        return cls([(leaf, leaf._version) for leaf in found.values()])

    def check(self) -> None:
        """Compare.

        Raises:
            InputError: If one has changed.
        """
        changed = [tuple(leaf.shape) for leaf, version in self.versions if leaf._version != version]
        if changed:
            raise InputError(
                f"A tensor of shape {changed[0]} that the field depends on was changed after it was used: these "
                "gradients would be of another field. Call backward() before the optimiser's step, or solve again."
            )

    def __call__(self, z: Tensor) -> Tensor:
        """The same tensor, whose gradients check first."""
        return _Guarded.apply(z, self) if self.versions and z.requires_grad else z  # type: ignore[return-value]


class _Guarded(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, guard: Guard) -> Tensor:
        ctx.guard = guard
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.guard.check()
        return grads[0], None


__all__ = ["Guard", "leaves"]

"""The state of a training in one file, written as a whole or not at all."""

from pathlib import Path
from typing import Any

from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.storage import complete, read, write


class Checkpoint:
    """A file, or none.

    Args:
        path: Where; None keeps nothing.
        kind: What is kept, such as `"training"`: a file of something else is refused.
        key: What the training depends on: a file of another one is refused.
        writes: Whether this process writes it.
    """

    def __init__(self, path: str | Path | None, kind: str, key: str, *, writes: bool = True) -> None:
        self.path = None if path is None else Path(path)
        self.kind, self.key, self.writes = kind, key, writes

    def write(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Put the state into the file."""
        if self.path is not None and self.writes:
            # Equal tensors may share memory, which the format refuses.
            write(
                self.path,
                self.kind,
                {"key": self.key, "at": about},
                {n: v.detach().clone() for n, v in tensors.items()},
            )

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What the file holds; None if there is none.

        Raises:
            InputError: If it belongs to another training.
        """
        if self.path is None or not self.path.exists():
            return None
        about, tensors = read(self.path, self.kind)
        with complete(self.path):
            if about["key"] != self.key:
                raise InputError(
                    f"{self.path} keeps the training of something else: {about['key']}. Give another checkpoint=, or "
                    "delete the file."
                )
            return about["at"], tensors


__all__ = ["Checkpoint"]

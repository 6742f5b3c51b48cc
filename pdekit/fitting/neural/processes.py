"""The processes that train together, as `torchrun` starts them; alone, all of this does nothing."""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pdekit.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among others.

    Attributes:
        rank: Its number.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: str) -> "Processes":
        """The group that RANK and WORLD_SIZE in the environment name (NCCL on CUDA, otherwise gloo).

        A group that exists already is used as it is.

        Raises:
            InputError: If the environment is incomplete.
        """
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
        if missing:
            raise InputError(f"WORLD_SIZE is {count}, but {', '.join(missing)} are not set. Start with torchrun.")
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this one writes files and tells how far things are."""
        return self.rank == 0

    def sum(self, values: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        if self.count > 1:
            for value in values:
                dist.all_reduce(value)

    def greatest(self, value: Tensor) -> None:
        """Replace a tensor by its greatest entries over all processes."""
        if self.count > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)

    def wait(self) -> None:
        """Go on when all others have come this far."""
        if self.count > 1:
            dist.barrier()

    def agree(self, value: bool) -> bool:
        """What the first process says."""
        if self.count == 1:
            return value
        said = torch.tensor([float(value and self.first)], dtype=torch.float64)
        self.sum([said])
        return bool(said)


__all__ = ["Processes"]

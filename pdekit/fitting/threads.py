"""Small dense linear algebra runs much faster on one thread than on several that wait for one another."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# From here on single operations are long enough to share.
_MANY = 50_000


@contextmanager
def one_thread(size: int) -> Iterator[None]:
    """Runs the block on one thread where `size`, the number of terms, is small; restores the setting afterwards."""
    before = torch.get_num_threads()
    if size < _MANY:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

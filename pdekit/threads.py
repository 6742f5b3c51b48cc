"""Small tensors are worked on much faster by one thread than by several that wait for one another.

The exponential of a thousand numbers was measured to take fifty times longer on two threads of a busy machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

# From here on single operations are long enough to share.
_MANY = 50_000


@contextmanager
def one_thread(size: int) -> Iterator[None]:
    """Runs the block on one thread, tensor operations only where `size`, the numbers in one, is small.

    The settings are restored afterwards.
    """
    if size >= _MANY:
        with threadpool_limits(1, user_api="blas"):
            yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)

"""What every test starts from: one thread, a fixed seed, no display, the same generated examples in every run.

The default dtype stays torch's own: tests ask for float64 where they need it, so a library function that forgets the
dtype of its input is seen.
"""

import os

# Before the first import of matplotlib and torch, which read these once.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

settings.register_profile("pdekit", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("pdekit")


@pytest.fixture(autouse=True)
def _reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)

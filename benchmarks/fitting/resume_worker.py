"""One neural fit in a process of its own, to be killed.

    python resume_worker.py SERIES.npy CHECKPOINT OUT.npz

Every round writes a checkpoint. Under torchrun the first process writes the result.
"""

import os
import sys

import numpy as np
import torch

import pdekit as pk
from pdekit.fitting.neural import train, training


def main() -> None:
    """Train and leave drift, noise and losses."""
    series, checkpoint, out = sys.argv[1:]
    torch.set_num_threads(1)
    training._EVERY = 0.0  # otherwise checkpoints are seconds apart
    x = np.load(series)
    options = pk.NeuralSDE(
        hidden=(16,),
        ensemble=2,
        patience=40,
        training=pk.Training(steps=800, batch=256, checkpoint=None if checkpoint == "none" else checkpoint),
    )
    learned = train(options, pk.Trajectories.from_arrays(np.arange(len(x)) * 0.05, x), seed=3)
    if int(os.environ.get("RANK", "0")) == 0:
        at = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)[:, None]
        with torch.no_grad():
            values = [learned.drift(0.0, at), learned.noise(0.0, at)[:, 0], learned.drift_stderr(at)]
        np.savez(
            out, fields=torch.cat(values).numpy(), losses=learned.history.losses, held_out=learned.history.held_out
        )


if __name__ == "__main__":
    main()

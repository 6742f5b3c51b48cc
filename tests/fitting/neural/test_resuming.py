"""A training that is interrupted or killed ends as if it had not been."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from pdekit.errors import InputError
from pdekit.fitting.neural import NeuralSDE, train, training
from pdekit.training import Training

_OPTIONS = NeuralSDE(hidden=(4,), ensemble=2, noise="constant", patience=3, training=Training(steps=150, batch=64))

_SCRIPT = """
import sys, torch, numpy as np
torch.set_num_threads(1)
from pdekit.data import Trajectories
from pdekit.fitting.neural import NeuralSDE, train, training
from pdekit.training import Training
training._EVERY = 0.0
checkpoint, out, *ranks = sys.argv[1:]
x = np.load(out + ".data.npy")
options = NeuralSDE(hidden=(6,), ensemble=2, noise="constant", patience=40, training=Training(
    steps=160, batch=128, checkpoint=checkpoint or None))
learned = train(options, Trajectories.from_arrays(np.arange(len(x)) * 0.05, x), seed=3)
if int(__import__("os").environ.get("RANK", "0")) == 0:
    at = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)[:, None]
    np.save(out + ".npy", torch.cat([learned.drift(0.0, at), learned.noise(0.0, at)[:, 0], learned.drift_stderr(at)]))
    np.save(out + ".losses.npy", learned.history.losses)
    np.save(out + ".held_out.npy", learned.history.held_out)
"""


def _same(one, other):
    x = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)[:, None]
    for name in ("drift", "noise"):
        torch.testing.assert_close(getattr(one, name)(0.0, x), getattr(other, name)(0.0, x), rtol=0, atol=0)
    torch.testing.assert_close(one.drift_stderr(x), other.drift_stderr(x), rtol=0, atol=0)
    for name in ("steps", "losses", "held_out", "gains", "errors"):
        a, b = (torch.from_numpy(getattr(fit.history, name)) for fit in (one, other))
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def _at(path):
    return replace(_OPTIONS, training=replace(_OPTIONS.training, checkpoint=path))


@pytest.fixture
def data(double_well_data):
    return double_well_data(n=300)


_KNOWN = []


@pytest.fixture
def whole(data):
    """The training as it is when nothing interrupts it; done once."""
    if not _KNOWN:
        _KNOWN.append(train(_OPTIONS, data, seed=3))
    return _KNOWN[0]


@pytest.mark.parametrize("calls", [1, 60, 107, 160])
def test_interrupted_anywhere_it_goes_on(tmp_path, monkeypatch, data, whole, calls):
    left = [calls]
    keep = training.Trainer._keep_sometimes

    def interrupted(self):
        keep(self)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainer, "_keep_sometimes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(_at(tmp_path / "run.safetensors"), data, seed=3)
    again = train(_at(tmp_path / "run.safetensors"), data, seed=3)
    _same(whole, again)


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch, data):
    options = _at(tmp_path / "run.safetensors")
    first = train(options, data, seed=3)
    monkeypatch.setattr(training.Trainer, "_adam", None)
    _same(first, train(options, data, seed=3))


def test_the_checkpoint_of_another_training_is_refused(tmp_path, double_well_data, data):
    path = tmp_path / "run.safetensors"
    options = _at(path)
    train(options, data, seed=3)
    others = [
        (options, double_well_data(n=301), 3),
        (options, data, 4),
        (replace(options, noise="diagonal"), data, 3),
        (replace(options, training=replace(options.training, steps=120)), data, 3),
    ]
    for other in others:
        with pytest.raises(InputError, match=r"run.safetensors keeps the training of something else"):
            train(other[0], other[1], seed=other[2])
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"run.safetensors is not a saved"):
        train(options, data, seed=3)


def _start(tmp_path, name, checkpoint, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(checkpoint), str(tmp_path / name)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(*processes):
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(tmp_path, double_well_data):
    x = double_well_data(n=800).values[0][:, 0].numpy()
    for name in ("whole", "killed"):
        (tmp_path / f"{name}.data.npy").write_bytes(_npy(x))
    started = time.monotonic()
    _ended(_start(tmp_path, "whole", ""))
    usual = time.monotonic() - started
    checkpoint = tmp_path / "run.safetensors"
    chance = random.Random(0)
    killed = 0
    for _ in range(3):
        process = _start(tmp_path, "killed", checkpoint)
        time.sleep(usual * chance.uniform(0.4, 0.9))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    _ended(_start(tmp_path, "killed", checkpoint))
    assert killed
    for part in (".npy", ".losses.npy", ".held_out.npy"):
        assert (tmp_path / f"whole{part}").read_bytes() == (tmp_path / f"killed{part}").read_bytes()


@pytest.mark.slow
def test_two_processes_reach_what_one_reaches(tmp_path, double_well_data):
    import numpy as np

    x = double_well_data(n=800).values[0][:, 0].numpy()
    for name in ("one", "two"):
        (tmp_path / f"{name}.data.npy").write_bytes(_npy(x))
    _ended(_start(tmp_path, "one", ""))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    both = [_start(tmp_path, "two", tmp_path / "run.safetensors", RANK=str(rank), **shared) for rank in range(2)]
    _ended(*both)
    # The same batches and the same sums, in another order: rounding, amplified over the steps.
    for part in (".losses.npy", ".held_out.npy", ".npy"):
        one, two = (np.load(tmp_path / f"{name}{part}") for name in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-4)
    assert (tmp_path / "run.safetensors").exists()


def _npy(array):
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_training_that_ran_out_of_time_goes_on(tmp_path, data, whole):
    kept = replace(_OPTIONS.training, checkpoint=tmp_path / "kept", seconds=1e-3)
    short = train(replace(_OPTIONS, training=kept), data, seed=3)
    assert len(short.history.steps) < len(whole.history.steps)
    _same(train(_at(tmp_path / "kept"), data, seed=3), whole)

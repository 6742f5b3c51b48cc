"""A neural fit that is killed and taken up again, and one that is shared by two processes."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.environment import one_thread
from benchmarks.fitting import resume_worker, samples
from benchmarks.fitting.truth import double_well
from benchmarks.results import Row, at_most
from benchmarks.runner import Context, Progress

TITLE = "Kill and resume of a neural fit; two processes under torchrun"
_KILLS = 20
_LIMIT = 120.0


def run(context: Context) -> list[Row]:
    """Both, with what an uninterrupted fit of one process gives."""
    samples.prepare(double_well(), 0.5, 5000, 1, context.cache)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        np.save(folder / "series.npy", samples.path(double_well(), 0.5, 5000, 0, context.cache)[:801])
        begun = time.perf_counter()
        _wait(_start(folder, "none", "whole"))
        seconds = time.perf_counter() - begun
        kills = _killed(folder, min(_KILLS, context.count(_KILLS)), seconds)
        rows = [_same(folder, kills)]
        _wait(_start(folder, "none", "two", torchrun=2))
        return [*rows, *_alike(folder)]


def _start(folder: Path, checkpoint: str, out: str, torchrun: int = 0) -> subprocess.Popen[str]:
    worker = [str(Path(resume_worker.__file__)), str(folder / "series.npy"), checkpoint, str(folder / f"{out}.npz")]
    launch = [sys.executable]
    if torchrun:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}"]
    return subprocess.Popen([*launch, *worker], env=os.environ | one_thread(), stderr=subprocess.PIPE, text=True)


def _wait(process: subprocess.Popen[str]) -> None:
    _, text = process.communicate(timeout=_LIMIT)
    if process.returncode:
        raise RuntimeError(f"The worker ended with {process.returncode}: {text.strip().splitlines()[-1:]}")


def _killed(folder: Path, kills: int, seconds: float) -> int:
    """Kill -9 at random moments after the first checkpoint of each run, then let it end; how many kills hit it."""
    rng, checkpoint, done = random.Random(1), folder / "run.safetensors", 0
    progress = Progress("kills", kills)
    for _ in range(kills):
        process, before = _start(folder, str(checkpoint), "killed"), _written(checkpoint)
        while process.poll() is None and _written(checkpoint) == before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, seconds / kills))
        if process.poll() is not None:
            process.communicate()
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += 1
        progress.step()
    progress.end()
    _wait(_start(folder, str(checkpoint), "killed"))
    return done


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _same(folder: Path, kills: int) -> Row:
    whole, killed = np.load(folder / "whole.npz"), np.load(folder / "killed.npz")
    same = all(whole[name].tobytes() == killed[name].tobytes() for name in whole.files)
    words = "the same bytes" if same else "different"
    return Row("drift, noise, errors and losses after kills", words, "", "the same bytes", same, f"{kills} kills -9")


def _alike(folder: Path) -> list[Row]:
    whole, two = np.load(folder / "whole.npz"), np.load(folder / "two.npz")
    losses = whole["losses"][np.isfinite(whole["losses"])], two["losses"][np.isfinite(two["losses"])]
    gap = abs(float(losses[0][-1] - losses[1][-1]))
    noise = float(np.std(np.diff(losses[0]))) if len(losses[0]) > 2 else float("nan")
    fields = float(np.abs(whole["fields"] - two["fields"]).max())
    detail = f"{losses[0][-1]:.6f} and {losses[1][-1]:.6f}; its scatter from round to round is {noise:.2g}"
    return [
        at_most("two processes: difference of the last loss", gap, max(noise, 1e-9), "", detail),
        Row("two processes: greatest difference of drift, noise or error", fields),
    ]

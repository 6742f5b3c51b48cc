"""The conditions of a measurement: threads fixed before the numerical libraries load, and the machine written down."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")  # the last one is read by JAX's XLA


def fix_threads(threads: int) -> None:
    """Restart this interpreter with `threads` threads that sleep while they wait, unless it already runs so.

    The libraries read these variables when they are loaded, so setting them later has no effect. Threads that spin
    while they wait (the default of some OpenMP runtimes) slow every other thread on a busy machine.
    """
    wanted = {name: str(threads) for name in _THREADS} | {"OMP_WAIT_POLICY": "PASSIVE"}
    if all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], os.environ | wanted)


def one_thread() -> dict[str, str]:
    """The environment of a worker process: one thread, sleeping while it waits."""
    return dict.fromkeys(_THREADS, "1") | {"OMP_WAIT_POLICY": "PASSIVE"}


def machine(peers: Iterable[str]) -> dict[str, object]:
    """What a number depends on: processor, cores, threads, how busy it is, versions (of `peers` too), commit."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        "load": round(os.getloadavg()[0], 2),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "sympy", *peers)},
        "commit": commit(),
    }


def version(distribution: str) -> str | None:
    """Installed version of a distribution, None when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the working tree, with `+` when it has uncommitted changes; None outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if git("status", "--porcelain") else "") if head else None


def fingerprint(parts: Iterable[str]) -> str:
    """Digest of the Python code in `parts`, files and folders of the repository: results of other code are stale."""
    files: list[Path] = []
    for part in parts:
        path = ROOT / part
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")

"""All mutants, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from verification.mutants.catalogue import MUTANTS, mutant
from verification.mutants.trial import CONTROL

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT = 300.0  # seconds that a trial may take
_CONTROL_LIMIT = 3600.0  # of the control, which runs the checks of all areas to their ends
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Progress = Callable[[str, int, int], None]


def run(
    names: Sequence[str] | None = None, processes: int = 2, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Try mutants, the control among them.

    Args:
        names: Which; by default the control and all mutants.
        processes: How many at once.
        progress: Called with (what was tried, done, all).

    Returns:
        One dictionary for each, the control first, then in the order of the catalogue: mutant, caught, by, message,
        seconds and, but for the control, module, area and description; `error` says why a trial gave no result.

    Raises:
        KeyError: If there is no mutant of a name.
    """
    wanted = {CONTROL, *(m.name for m in MUTANTS)} if names is None else set(names)
    for name in wanted - {CONTROL}:
        mutant(name)
    ordered = [name for name in (CONTROL, *(m.name for m in MUTANTS)) if name in wanted]
    found: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(processes) as pool:
        tried = {pool.submit(_tried, name): name for name in ordered}
        for future in as_completed(tried):
            name = tried[future]
            found[name] = future.result()
            if progress is not None:
                progress(name, len(found), len(ordered))
    return [found[name] for name in ordered]


def _tried(name: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if name != CONTROL:
        m = mutant(name)
        told = {"module": m.module, "area": m.area, "description": m.description}
    limit = _CONTROL_LIMIT if name == CONTROL else _LIMIT
    nothing = {"mutant": name, "caught": False, "by": None, "message": "", "seconds": limit}
    command = [sys.executable, "-m", "verification.mutants.trial", name]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, env={**os.environ, **_ONE_THREAD}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {**nothing, **told, "error": f"no result within {limit:g} seconds"}
    if done.returncode:
        return {**nothing, **told, "seconds": 0.0, "error": done.stderr.strip()[-300:]}
    return {**json.loads(done.stdout.splitlines()[-1]), **told}


__all__ = ["Progress", "run"]

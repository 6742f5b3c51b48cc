"""Running one section of a benchmark, and what must agree for a stored one to be kept."""

import multiprocessing
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks import catalogue, environment, results
from benchmarks.results import Row
from benchmarks.runner import Context


def run_alone(benchmark: str, name: str, context: Context) -> dict[str, Any]:
    """One section in a process of its own, so that no other one's memory, threads or caches are in the way.

    A section that raises, or whose process dies, misses its targets; the others still run.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(run, benchmark, name, context).result()
        except Exception as error:
            traceback.print_exception(error)
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            machine = environment.machine(catalogue.benchmark(benchmark).PEERS)
            return _section(name, machine, [Row("the section itself", "failed", "", "runs", False, text)], 0.0, context)


def run(benchmark: str, name: str, context: Context) -> dict[str, Any]:
    """The rows of one section with the conditions under which they were measured, as plain data."""
    section = catalogue.section(benchmark, name)
    print(f"== {section.TITLE}", file=sys.stderr, flush=True)
    machine, begun = environment.machine(catalogue.benchmark(benchmark).PEERS), time.perf_counter()
    rows = section.run(context)
    return _section(section.TITLE, machine, rows, time.perf_counter() - begun, context)


def _section(title: str, machine: dict[str, Any], rows: list[Row], seconds: float, context: Context) -> dict[str, Any]:
    return results.clean(
        {
            "title": title,
            "rows": rows,
            "seconds": seconds,
            "full": context.full,
            "seeds": context.seeds,
            "settings": _settings(context),
            "machine": machine,
        }
    )


def is_current(stored: dict[str, Any] | None, context: Context) -> bool:
    """Whether a stored section was measured by this very code with the same settings."""
    return stored is not None and stored.get("settings") == _settings(context)


def _settings(context: Context) -> dict[str, Any]:
    code = environment.fingerprint(("pdekit", "benchmarks"))
    return {"code": code, "seeds": context.seeds, "full": context.full, "threads": context.threads}

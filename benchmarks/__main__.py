"""`python -m benchmarks NAME [--only SECTION] [--json] [--full] [--resume]`: run a benchmark and print its table."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import catalogue, environment, results, section
from benchmarks.runner import Context

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Exit status 0: every target reached; 1: some missed; 2: bad usage (argparse)."""
    options = _parse()
    environment.fix_threads(options.threads)
    benchmark = catalogue.benchmark(options.name)
    context = Context(
        full=options.full,
        resume=options.resume,
        seeds=options.seeds or (1 if options.quick else None),
        processes=options.processes,
        threads=options.threads,
        data=options.data,
        cache=HERE / "cache",
        peers_python=options.peers_python,
        stamp=environment.fingerprint(benchmark.CODE),
        quick=options.quick,
    )
    folder = options.results or (HERE / "cache" / "quick" if options.quick else HERE / "results")
    path = folder / f"{options.name}.json"
    stored = results.read(path) if options.resume else {}
    done: dict[str, Any] = {}
    for name in options.only or benchmark.SECTIONS:
        kept = stored.get(name)
        done[name] = kept if section.is_current(kept, context) else section.run_alone(options.name, name, context)
        results.merge(path, {name: done[name]})  # after each section: what is measured is not lost
    print(json.dumps(done, indent=1) if options.json else results.markdown(options.name, done))
    print(f"stored in {path}", file=sys.stderr)
    missed = [row["metric"] for part in done.values() for row in part["rows"] if row["reached"] is False]
    for metric in missed:
        print(f"target missed: {metric}", file=sys.stderr)
    return 1 if missed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure pdekit against theory and its peers."
    )
    parser.add_argument("name", choices=catalogue.NAMES, help="which benchmark")
    parser.add_argument("--only", action="append", metavar="SECTION", help="run one section (repeatable); default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown tables")
    parser.add_argument("--full", action="store_true", help="more seeds and rounds; may take hours")
    parser.add_argument("--resume", action="store_true", help="keep what a stopped run of the same code has stored")
    parser.add_argument("--seeds", type=_positive, help="number of seeds of every section, for a quick trial")
    parser.add_argument("--threads", type=_positive, default=2, help="threads for timings (default 2)")
    parser.add_argument("--processes", type=_positive, default=2, help="worker processes, one thread each (default 2)")
    parser.add_argument(
        "--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of the real series"
    )
    parser.add_argument("--results", type=Path, help="where the tables are stored (default: benchmarks/results)")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="interpreter with the peers installed (default: this one)"
    )
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)  # small sizes: does everything run?
    options = parser.parse_args()
    known = catalogue.benchmark(options.name).SECTIONS
    stray = set(options.only or ()) - set(known)
    if stray:
        parser.error(f"{options.name} has no section {', '.join(sorted(stray))}; it has {', '.join(known)}")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


if __name__ == "__main__":
    raise SystemExit(main())

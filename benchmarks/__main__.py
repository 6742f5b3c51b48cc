"""`python -m benchmarks NAME [--only SECTION] [--json] [--full] [--resume]`: run a benchmark and print its table."""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import environment, results, sections
from benchmarks.runner import Context

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Exit status 0: every target reached; 1: some missed; 2: bad usage (argparse)."""
    options = _parse()
    environment.fix_threads(options.threads)
    context = Context(
        full=options.full,
        resume=options.resume,
        seeds=options.seeds,
        processes=options.processes,
        threads=options.threads,
        data=options.data,
        cache=HERE / "cache",
        peers_python=options.peers_python,
    )
    wanted = options.only or sections.SUITES[options.name]
    path = options.results / f"{options.name}.json"
    done = {}
    for name in wanted:
        done[name] = _run(name, context)
        results.merge(path, {name: done[name]})  # after each section: what is measured is not lost
    print(
        json.dumps(results.clean(done), indent=1)
        if options.json
        else results.markdown(options.name, results.clean(done))
    )
    print(f"stored in {path}", file=sys.stderr)
    missed = [row.metric for section in done.values() for row in section["rows"] if row.reached is False]
    for metric in missed:
        print(f"target missed: {metric}", file=sys.stderr)
    return 1 if missed else 0


def _run(name: str, context: Context) -> dict[str, object]:
    section = sections.load(name)
    print(f"== {section.TITLE}", file=sys.stderr, flush=True)
    machine, begun = environment.machine(), time.perf_counter()
    rows = section.run(context)
    return {
        "title": section.TITLE,
        "rows": rows,
        "seconds": time.perf_counter() - begun,
        "full": context.full,
        "seeds": context.seeds,
        "machine": machine,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure pdekit against theory and its peers."
    )
    parser.add_argument("name", choices=sorted(sections.SUITES), help="which benchmark")
    known = sorted({name for suite in sections.SUITES.values() for name in suite})
    parser.add_argument("--only", action="append", choices=known, help="run one section (repeatable); default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown tables")
    parser.add_argument("--full", action="store_true", help="allow runs of over an hour, with the full number of seeds")
    parser.add_argument(
        "--resume", action="store_true", help="reuse the outcomes that a stopped run of the same code stored"
    )
    parser.add_argument("--seeds", type=_positive, help="number of seeds of every section, for a quick trial")
    parser.add_argument("--threads", type=_positive, default=2, help="threads for timings (default 2)")
    parser.add_argument("--processes", type=_positive, default=2, help="worker processes, one thread each (default 2)")
    parser.add_argument(
        "--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of the real series"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the tables are stored")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="interpreter with the peers installed (default: this one)"
    )
    options = parser.parse_args()
    stray = set(options.only or ()) - set(sections.SUITES[options.name])
    if stray:
        parser.error(f"{options.name} has no section {', '.join(sorted(stray))}")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


if __name__ == "__main__":  # spawned worker processes import this module again
    raise SystemExit(main())

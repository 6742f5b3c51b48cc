"""`python -m verification [--quick | --full] [--only SECTION] [--resume]`, and `python -m verification mutants`."""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECTIONS = ("operators", "nets", "transitions", "simulators", "integrators", "alarms", "rules", "peers")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> int:
    """Exit status 0: everything holds; 1: something does not; 2: bad usage (argparse)."""
    options = _parse()
    for name in _THREADS:  # before the libraries load: the matrices are small, and threads would wait for one another
        os.environ.setdefault(name, "1")
    if options.what == "mutants":
        return _mutants(options)
    return _matrix(options)


def _matrix(options: argparse.Namespace) -> int:
    from verification import evidence
    from verification.level import LEVELS

    level, folder = LEVELS[options.level], options.out
    sections = evidence.read(folder) if options.resume else {}
    done: dict[str, Any] = {}
    for name in options.only or SECTIONS:
        stamp = f"{level.name} {options.device} {_fingerprint()}"
        kept = sections.get(name)
        if kept is not None and kept["stamp"] == stamp:
            done[name] = kept
            continue
        module = import_module(f"verification.sections.{name}")
        begun = time.perf_counter()
        findings = module.run(level, options.device, _Progress(name))
        seconds = time.perf_counter() - begun
        done[name] = evidence.entry(module.TITLE, findings, seconds, stamp, evidence.machine(options.device))
        evidence.write(folder, {**sections, **done})  # after each section: a stopped run resumes here
    evidence.write(folder, done)
    return _told(done, folder)


def _told(done: Mapping[str, Any], folder: Path) -> int:
    from verification import evidence

    good, bad, trials = evidence.verdict(done)
    for section in done.values():
        held = [f["good"] for f in section["findings"] if f["good"] is not None]
        print(f"{section['title']}: {sum(held)} of {len(held)} hold, {section['seconds']:g} s")
        for f in section["findings"]:
            if f["good"] is False:
                print(f"  FAILED {f['subject']}, {f['setting']}: {f['found']}, allowed {f['allowed']}")
                print("    " + f["detail"].replace("\n", "\n    "))
    print(f"{good} of {good + bad} findings hold, from {trials:,} trials; the report is in {folder}")
    return 1 if bad else 0


def _mutants(options: argparse.Namespace) -> int:
    from verification import evidence
    from verification.mutants import campaign

    results = campaign.run(options.only, processes=options.processes, progress=_Progress("mutants"))
    findings = []
    for r in results:
        control = r["mutant"] == "control"
        error = r.get("error")  # a control that did not finish proves nothing
        good = r["caught"] != control and error is None
        found = f"caught by {r['by']}" if r["caught"] else error or "not caught"
        allowed = "nothing to catch" if control else "caught"
        findings.append(evidence.Finding(r["mutant"], f"{r['seconds']:.0f} s", 1, found, allowed, good, r["message"]))
    entry = evidence.entry(
        "Mutants", findings, sum(r["seconds"] for r in results), _fingerprint(), evidence.machine("cpu")
    )
    folder = options.out / "mutants"
    evidence.write(folder, {"mutants": entry})
    for f in findings:
        print(f"{'ok    ' if f.good else 'FAILED'} {f.subject}: {f.found} ({f.setting})")
    missed = [f for f in findings if not f.good]
    print(f"{len(findings) - len(missed)} of {len(findings)} as they should be; the report is in {folder}")
    return 1 if missed else 0


class _Progress:
    """One line on the error stream that is written over, or a line per step where that is no terminal."""

    def __init__(self, name: str) -> None:
        self.name, self.begun = name, time.perf_counter()

    def __call__(self, what: str, done: int, count: int) -> None:
        seconds = time.perf_counter() - self.begun
        line = f"{self.name}: {done}/{count} {what} ({seconds:.0f} s)"
        if sys.stderr.isatty():
            print(f"\r{line:<100.100}", end="" if done < count else "\n", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _fingerprint() -> str:
    """A digest of the code that decides what is found."""
    digest = hashlib.sha256()
    for folder in (HERE.parent / "pdekit", HERE):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m verification", description="Hold pdekit against independent truth."
    )
    parser.add_argument("what", nargs="?", choices=("matrix", "mutants"), default="matrix")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="level", action="store_const", const="quick", help="a minute")
    size.add_argument("--full", dest="level", action="store_const", const="full", help="a night")
    parser.add_argument("--only", action="append", metavar="NAME", help="one section or mutant (repeatable)")
    parser.add_argument("--device", default="cpu", help="where operators are computed (default cpu)")
    parser.add_argument("--resume", action="store_true", help="keep the sections that the same code has verified")
    parser.add_argument("--processes", type=int, default=2, help="mutants tried at a time (default 2)")
    parser.add_argument("--out", type=Path, help="folder of the report (default verification/results)")
    parser.set_defaults(level="default")
    options = parser.parse_args()
    unknown = set(options.only or ()) - set(SECTIONS) if options.what == "matrix" else set()
    if unknown:
        parser.error(f"--only must name sections: {', '.join(SECTIONS)}; got {', '.join(sorted(unknown))}")
    if options.processes < 1:
        parser.error("--processes must be at least 1")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is a file; name a folder")
    if options.what == "mutants" and options.only:
        from verification.mutants.catalogue import MUTANTS

        missing = set(options.only) - {m.name for m in MUTANTS}
        if missing:
            parser.error(f"there is no mutant called {', '.join(sorted(missing))}")
    if options.what == "matrix" and options.device != "cpu":
        import torch

        try:
            torch.zeros(1, device=options.device)
        except Exception as cause:
            parser.error(f"--device {options.device}: torch can't use it here ({str(cause).splitlines()[0]})")
    # A trial's report must not replace the evidence.
    options.out = options.out or HERE / ("quick" if options.level == "quick" else "results")
    return options


if __name__ == "__main__":
    sys.exit(main())

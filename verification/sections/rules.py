"""The exhaustive tests: every rule of the Taylor series against nested forward mode, in every kind of run."""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from pdekit.testing.matrix import Progress
from verification.evidence import Finding
from verification.level import Level

TITLE = "Every rule of the series, exhaustively"
_ROOT = Path(__file__).resolve().parents[2]


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """The tests that the default test command leaves out; none at the quick level."""
    if level.name == "quick":
        return []
    progress("tests marked slow; some minutes", 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "tests", "-q", "-m", "slow", "-n", "2", f"--junitxml={report}"]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            return [Finding("tests marked slow", "pytest", 0, "did not run", "0 fail", False, done.stdout[-2000:])]
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    count, bad = int(suite.get("tests", "0")), int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    progress("", 1, 1)
    text = done.stdout[-3000:] if bad or not count else ""
    return [Finding("tests marked slow", "pytest", count, f"{bad} fail", "0 fail", bad == 0 and count > 0, text)]

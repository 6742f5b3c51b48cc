"""One line of evidence, and the report that many of them make."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that was verified.

    Args:
        subject: What was verified.
        setting: How: method, form of functions, mode, dtype.
        trials: How many trials were made.
        found: The worst error, or the measured number, in words.
        allowed: What is allowed, in words.
        good: Whether it holds; None for peers, whose faults are shown and miss nothing of ours.
        detail: What went wrong, or what else there is to say.
    """

    subject: str
    setting: str
    trials: int
    found: str
    allowed: str
    good: bool | None
    detail: str = ""


def machine(device: str) -> dict[str, Any]:
    """What the evidence holds for: versions, device, system."""
    names = ("pdekit", "torch", "numpy", "scipy", "sympy", "mpmath", "hypothesis", "torchsde")
    versions = {name: _version(name) for name in names}
    return {"device": device, "python": platform.python_version(), "system": platform.platform(), **versions}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def write(folder: Path, sections: Mapping[str, Any]) -> None:
    """Writes `report.json` and `report.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(sections, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(sections))


def read(folder: Path) -> dict[str, Any]:
    """The sections of an earlier run; none if there was none."""
    path = folder / "report.json"
    return json.loads(path.read_text()) if path.is_file() else {}


ROOT = Path(__file__).parents[1]  # reports name files by their place in the project


def entry(
    title: str, findings: Sequence[Finding], seconds: float, stamp: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """A section as it is stored."""
    return {
        "title": title,
        "findings": [asdict(f) | {"detail": f.detail.replace(f"{ROOT}/", "")} for f in findings],
        "seconds": round(seconds, 1),
        "stamp": stamp,
        "machine": dict(about),
    }


def verdict(sections: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many findings hold, how many don't, and how many trials were made."""
    findings = [f for s in sections.values() for f in s["findings"]]
    judged = [f for f in findings if f["good"] is not None]
    return sum(f["good"] for f in judged), sum(not f["good"] for f in judged), sum(f["trials"] for f in findings)


def markdown(sections: Mapping[str, Any]) -> str:
    """The report for people."""
    good, bad, trials = verdict(sections)
    lines = [
        "# Verification",
        "",
        f"{good} of {good + bad} findings hold, from {trials:,} trials. Errors are in units of eps sum|terms|: what "
        "rounding alone may do to the terms that a result is added up from.",
    ]
    for section in sections.values():
        about = ", ".join(f"{key} {value}" for key, value in section["machine"].items())
        lines += ["", f"## {section['title']}", "", f"{section['seconds']:g} s; {about}", ""]
        lines += ["| subject | setting | trials | found | allowed | holds |", "|---|---|---:|---|---|---|"]
        lines += [_line(f) for f in section["findings"]]
        failed = [f for f in section["findings"] if f["detail"] and f["good"] is False]
        lines += [f"\n**{f['subject']}, {f['setting']}**\n\n```\n{f['detail']}\n```" for f in failed]
    return "\n".join(lines) + "\n"


def _line(f: Mapping[str, Any]) -> str:
    holds = "peer" if f["good"] is None else "yes" if f["good"] else "**NO**"
    cells = [f["subject"], f["setting"], f"{f['trials']:,}", f["found"], f["allowed"], holds]
    return "| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

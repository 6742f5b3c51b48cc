"""One row per measured number, and the JSON and Markdown files that keep them."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measured number beside what it should be.

    Args:
        metric: What was measured.
        value: The number, or a short text where there is none (`"absent"`).
        unit: Its unit; empty for a ratio or a text.
        target: What it should be, in words; empty for a number given for information.
        reached: Whether the target is met; None where there is no target or nothing could be measured.
        detail: Seeds, failures, comparison values.
    """

    metric: str
    value: float | str
    unit: str = ""
    target: str = ""
    reached: bool | None = None
    detail: str = ""


def at_most(metric: str, value: float, limit: float, unit: str = "", detail: str = "") -> Row:
    """A row whose target is an upper limit; NaN misses it."""
    return Row(metric, value, unit, f"<= {limit:g}", bool(value <= limit), detail)


def at_least(metric: str, value: float, limit: float, unit: str = "", detail: str = "") -> Row:
    """A row whose target is a lower limit; NaN misses it."""
    return Row(metric, value, unit, f">= {limit:g}", bool(value >= limit), detail)


def skipped(metric: str, why: str) -> Row:
    """A row that says why nothing was measured; it neither reaches nor misses a target."""
    return Row(metric, "absent", detail=why)


def read(path: Path) -> dict[str, Any]:
    """The stored sections; none if there is no file yet."""
    return json.loads(path.read_text()) if path.is_file() else {}


def merge(path: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the sections that were run in the stored results, leave the others, and write JSON and Markdown.

    Args:
        path: The JSON file; the Markdown table lies beside it.
        sections: Section name -> {"title", "rows", "seconds", "full", "machine", ...}.

    Returns:
        All sections now stored.
    """
    stored = read(path)
    stored.update(clean(sections))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(stored, indent=1, allow_nan=False) + "\n")
    _write(path.with_suffix(".md"), markdown(path.stem, stored))
    return stored


def clean(value: Any) -> Any:
    """The same structure with rows as dictionaries and numbers that JSON can hold (NaN and infinity become text)."""
    if isinstance(value, Row):
        return clean(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def markdown(name: str, sections: Mapping[str, Any]) -> str:
    """The stored sections as Markdown tables."""
    lines = [f"# Benchmark: {name}", ""]
    for section in sections.values():
        where = section["machine"]
        lines += [
            f"## {section['title']}",
            "",
            f"{where['cpu']}, {where['cores']} cores, {where['threads']} threads, load {where['load']} before; "
            f"{_versions(where)}, commit {where['commit']}; {section['seconds']:.0f} s"
            f"{', full' if section['full'] else ''}.",
            "",
            "| metric | value | target | reached | detail |",
            "|---|---|---|---|---|",
            *(f"| {' | '.join(cell.replace('|', '/') for cell in cells(row))} |" for row in section["rows"]),
            "",
        ]
    return "\n".join(lines)


def cells(row: Mapping[str, Any]) -> Sequence[str]:
    """The texts of one table row."""
    value = row["value"]
    number = f"{value:.{4 if abs(value) < 1000 else 7}g}" if isinstance(value, float) else str(value)
    reached = {True: "yes", False: "NO", None: "-"}[row["reached"]]
    return row["metric"], f"{number} {row['unit']}".strip(), row["target"] or "-", reached, row["detail"]


def _versions(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {machine[name]}" for name in ("torch", "numpy", "jax", "folx") if machine.get(name))


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text)
    os.replace(temporary, path)

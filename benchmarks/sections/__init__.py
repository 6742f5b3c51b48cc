"""The sections of each benchmark: one module each, with a `TITLE` and `run(context) -> list[Row]`."""

import importlib
from types import ModuleType

SUITES: dict[str, tuple[str, ...]] = {
    "fitting": (
        "bounds",
        "timing",
        "double_well",
        "discretisation",
        "cir_convergence",
        "real_data",
        "simulation",
        "peers",
        "intervals",
    ),
}


def load(name: str) -> ModuleType:
    """Import one section; the package under test and its peers load only when a section needs them."""
    return importlib.import_module(f"benchmarks.sections.{name}")

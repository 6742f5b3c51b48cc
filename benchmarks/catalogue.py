"""The benchmarks by name: each is a package with `SECTIONS`, `PEERS`, `CODE` and one module per section."""

import importlib
from types import ModuleType

NAMES = ("fitting", "flows", "fokker_planck", "ode", "operators")


def benchmark(name: str) -> ModuleType:
    """The package of one benchmark."""
    return importlib.import_module(f"benchmarks.{name}")


def section(name: str, part: str) -> ModuleType:
    """Import one section; the package under test and its peers load only when a section needs them."""
    return importlib.import_module(f"benchmarks.{name}.sections.{part}")

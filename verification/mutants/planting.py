"""Plants one fault: a module of pdekit is compiled from its source with one snippet replaced, on import, in memory."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


class PlantingError(Exception):
    """A fault can't be planted."""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        name: Its name.
        module: The module it is in.
        old: A snippet that occurs once in the module's source.
        new: What stands there instead.
        description: The class of bugs it stands for, one sentence.
        area: Whose checks must catch it: a key of `verification.mutants.checks.AREAS`.
    """

    name: str
    module: str
    old: str
    new: str
    description: str
    area: str

    def applied(self, source: str) -> str:
        """The source with the fault in it.

        Raises:
            PlantingError: If the snippet does not occur exactly once.
        """
        count = source.count(self.old)
        if count != 1:
            raise PlantingError(
                f"Mutant {self.name}: its snippet must occur exactly once in {self.module}, but occurs {count} times:\n"
                f"{self.old}"
            )
        return source.replace(self.old, self.new)


def in_area(area: str, *rows: tuple[str, str, str, str, str]) -> tuple[Mutant, ...]:
    """The mutants of one area.

    Args:
        area: Its name.
        rows: (name, module within pdekit, old, new, description).
    """
    return tuple(
        Mutant(name, f"pdekit.{module}", old, new, description, area) for name, module, old, new, description in rows
    )


def source_of(module: str) -> str:
    """The source of a module, which is not imported, nor are its packages.

    Raises:
        PlantingError: If there is no such module.
    """
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise PlantingError(f"There is no package {top}.")
    base = Path(spec.submodule_search_locations[0]).joinpath(*inner)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise PlantingError(f"There is no module {module}.")


def plant(mutant: Mutant) -> None:
    """Make the next import of the mutant's module give the mutant, in this process.

    Raises:
        PlantingError: If the snippet does not occur exactly once, or the module has been imported already.
    """
    mutant.applied(source_of(mutant.module))
    if mutant.module in sys.modules:
        raise PlantingError(f"Mutant {mutant.name}: {mutant.module} has been imported already; plant before.")
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    """Finds the mutant's module as usual, and has it loaded with the fault."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self.mutant)
        return spec


class _Loader(SourceFileLoader):
    """Compiles from the source and nothing else: bytecode is neither read nor written."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        source: Any = self.mutant.applied(self.get_source(fullname) or "")
        return self.source_to_code(source, self.path)


__all__ = ["Mutant", "PlantingError", "in_area", "plant", "source_of"]

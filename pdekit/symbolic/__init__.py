"""SDEs stated with SymPy: parsed through a whitelist, converted, compiled to torch, and a catalogue of named ones."""

from pdekit.symbolic import models
from pdekit.symbolic.compiled import Compiled
from pdekit.symbolic.model import SymbolicSDE
from pdekit.symbolic.parser import parse_expression
from pdekit.symbolic.printer import write_expression

__all__ = ["Compiled", "SymbolicSDE", "models", "parse_expression", "write_expression"]

"""The stiff test set: initial value problems whose end values are known to about ten digits.

`stiff_set()` lists them, `problem(name)` finds one, `reference(name)` is its end value.
"""

from verification.stiff.catalogue import problem, stiff_set
from verification.stiff.problem import Published, StiffProblem

__all__ = ["Published", "StiffProblem", "problem", "stiff_set"]

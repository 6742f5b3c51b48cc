"""The error classes of pdekit.

Every error says what was expected, what came, where (row, column, time, component) and what to try. All derive from
`PdekitError`, and each also derives from the built-in class that a caller who doesn't know pdekit would catch.
"""


class PdekitError(Exception):
    """Base class of every error that pdekit raises on purpose."""


class InputError(PdekitError, ValueError):
    """An argument or a file does not have the form that was expected."""


class DataError(InputError):
    """Observations are missing, malformed, out of order or outside the model's domain."""


class ExpressionError(InputError):
    """A formula written by a user does not parse, or uses something that is not mathematical."""


class ModelError(InputError):
    """A model is inconsistent: unknown names, wrong shapes, an undeclared property."""


class OperatorError(InputError):
    """A function or its arguments do not have the form that a differential operator needs."""


class UnsupportedError(PdekitError, NotImplementedError):
    """What was asked for is well posed, but this method refuses it; the message names one that does not."""


class NumericalError(PdekitError, ArithmeticError):
    """A computation left the range in which its result could be trusted."""


class ConvergenceError(PdekitError, RuntimeError):
    """An iteration stopped before it reached its tolerance."""

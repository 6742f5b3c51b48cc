"""Reads a formula that a person wrote into SymPy, through a whitelist.

The text is parsed by Python's own grammar (`ast`), and every node is looked up in a short table: what isn't a number, a
declared name, arithmetic or a listed function is refused with its column. Nothing is ever evaluated as Python, and no
raw text reaches SymPy. Sizes are bounded *before* SymPy computes, because `9**9**9` is arithmetic that never ends.
"""

import ast
import difflib
import keyword
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import sympy
from sympy import Expr, Float, Integer, Symbol

from pdekit.errors import ExpressionError
from pdekit.symbolic.vocabulary import CONSTANTS, FUNCTIONS, MAX_CHOICES

MAX_LENGTH = 2000
MAX_DEPTH = 50
MAX_EXPONENT = 100
MAX_BITS = 1000  # of an exact power: beyond it the value no longer fits a double (1024 bits)

_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Attribute: "attributes (the dot in 'a.b') are not allowed",
    ast.Subscript: "indexing with [...] is not allowed; give each component a name of its own",
    ast.Lambda: "'lambda' is reserved; write 'lam' for the symbol",
    ast.Compare: "comparisons are not allowed; write a switch with Heaviside(...), a limit with Min(...) or Max(...)",
    ast.BoolOp: "'and' and 'or' are not allowed; write a switch with Heaviside(...)",
    ast.IfExp: "'if ... else' is not allowed; write a switch with Heaviside(...)",
    ast.NamedExpr: "assignments are not allowed; give the formula alone",
    ast.Tuple: "expected one formula, got several separated by commas",
    ast.List: "lists are not allowed inside a formula",
    ast.Starred: "'*' unpacking is not allowed",
}

_BAD = (sympy.I, sympy.zoo, sympy.nan, sympy.oo, -sympy.oo)


def parse_expression(text: str, symbols: Mapping[str, Symbol]) -> Expr:
    """Reads one formula, such as `"theta*(mu - x)"`, into a SymPy expression.

    Args:
        text: The formula: numbers, the names in `symbols`, the constants `pi` and `E` (unless declared as symbols),
            `+ - * / **`, parentheses and the functions in `FUNCTIONS`.
        symbols: The names that may be used. A name of any spelling works (`beta`, `gamma`, `S`, `I`, `N`): only this
            table decides what it means.

    Returns:
        The expression. Integers and their ratios are exact; decimal numbers are doubles.

    Raises:
        ExpressionError: If the text does not parse, is too large, isn't real and finite, or uses anything else.

    Example:
        >>> from sympy import symbols
        >>> x, gamma = symbols("x gamma", positive=True)
        >>> parse_expression("gamma*sqrt(x)/2", {"x": x, "gamma": gamma})
        gamma*sqrt(x)/2
    """
    return _Reader(text, symbols).read()


def free_names(text: str) -> tuple[str, ...]:
    """The names a formula uses, other than functions and constants, in the order of their first appearance.

    Raises:
        ExpressionError: If the text does not parse as a formula.

    Example:
        >>> free_names("theta*(mu - x) + sin(x)")
        ('theta', 'mu', 'x')
    """
    reader = _Reader(text, {})
    called = {id(node.func) for node in ast.walk(reader.tree) if isinstance(node, ast.Call)}
    names = [node for node in ast.walk(reader.tree) if isinstance(node, ast.Name) and id(node) not in called]
    names.sort(key=lambda node: node.col_offset)
    return tuple(dict.fromkeys(node.id for node in names if node.id not in CONSTANTS and node.id not in FUNCTIONS))


def check_name(name: str, what: str) -> str:
    """Checks that a name can stand in a formula, and returns it in the normal form in which Python reads it.

    Raises:
        ExpressionError: If it is not an identifier, is reserved by Python, or is the name of a function.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ExpressionError(
            f"The {what} {name!r} is not a name: expected letters, digits and '_', not starting with a digit."
        )
    if keyword.iskeyword(name):
        remedy = "lam" if name == "lambda" else name + "_"
        raise ExpressionError(
            f"The {what} {name!r} is a reserved word and cannot stand in a formula; call it {remedy!r}."
        )
    if name.startswith("__"):
        raise ExpressionError(f"The {what} {name!r} starts with two underscores; choose another name.")
    if name in FUNCTIONS:
        raise ExpressionError(f"The {what} {name!r} is also the name of a function; choose another name.")
    return unicodedata.normalize("NFKC", name)


def canonical(e: Any, symbols: Mapping[str, Symbol]) -> Any:
    """The expression in the given symbols, matched by name, and rebuilt from its leaves.

    SymPy may leave equal formulas with different trees, depending on how they were made; rebuilt, they are equal.
    """
    if isinstance(e, Symbol):
        return symbols.get(e.name, e)
    if e.is_Float:
        return Float(float(e))
    if not e.args:
        return e
    return e.func(*(canonical(argument, symbols) for argument in e.args))


class _Reader:
    """One formula on its way into SymPy; keeps the text so that every error can point into it."""

    def __init__(self, text: str, symbols: Mapping[str, Symbol]):
        if not isinstance(text, str):
            raise ExpressionError(f"Expected a formula as text, got {type(text).__name__}.")
        self.text = text
        self.symbols = symbols
        self.line = re.sub(r"[\r\n\t\f\v]", " ", text)
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"The formula has {len(text)} characters; at most {MAX_LENGTH} are read.")
        if not text.strip():
            raise ExpressionError("The formula is empty; write 0 for a term that vanishes.")
        self.indent = len(self.line) - len(self.line.lstrip())
        self.line = self.line.strip()
        for mark, remedy in (
            ("^", "write ** for a power"),
            ("#", "comments are not allowed"),
            ("\0", "it is not text"),
        ):
            if mark in self.line:
                self.fail(f"unexpected {mark!r}: {remedy}", self.line.index(mark))
        self.tree = self._parse()

    def _parse(self) -> ast.expr:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about spellings that are refused below anyway
                return ast.parse(self.line, mode="eval").body
        except SyntaxError as error:
            self._explain_syntax(error)
        except (RecursionError, MemoryError):
            self.fail("it is nested too deeply")
        except ValueError as error:  # a number with more digits than Python converts
            self.fail(f"it cannot be read ({error})")

    def _explain_syntax(self, error: SyntaxError) -> NoReturn:
        column = max((error.offset or 1) - 1, 0)
        for word in re.finditer(r"[^\W\d]\w*", self.line):
            if keyword.iskeyword(word[0]):
                remedy = "lam" if word[0] == "lambda" else word[0] + "_"
                self.fail(f"{word[0]!r} is a reserved word; call the symbol {remedy!r}", word.start())
        product = re.search(r"(?<![\w.])(\d+\.?\d*)\s*([^\W\d]\w*|\()", self.line) or re.search(
            r"(\))\s*(\w+|\()", self.line
        )
        if product:
            self.fail(f"a '*' is missing: write {product[1]}*{product[2]}", product.start())
        if re.search(r"(?<![=<>!:])=(?!=)", self.line):
            self.fail("expected the right-hand side alone, without '='", self.line.index("="))
        self.fail(f"it is not a formula ({(error.msg or 'invalid syntax').rstrip('.')})", min(column, len(self.line)))

    def fail(self, what: str, column: int | None = None) -> NoReturn:
        """Raises the error that names the offending piece and where it stands."""
        shown = self.line if len(self.line) <= 60 else self.line[:57] + "..."
        place = "" if column is None else f" at column {self.indent + column + 1}"
        raise ExpressionError(f"Cannot read the formula {shown!r}{place}: {what}.")

    def fail_at(self, node: ast.AST, what: str) -> NoReturn:
        # ast counts UTF-8 bytes; people count characters.
        prefix = self.line.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
        self.fail(what, len(prefix))

    def piece(self, node: ast.AST) -> str:
        """The user's own spelling of a node, shortened."""
        raw, start, end = self.line.encode(), getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
        text = raw[start:end].decode(errors="ignore")
        return repr(text if len(text) <= 40 else text[:37] + "...")

    def read(self) -> Expr:
        try:
            result = canonical(self.convert(self.tree, 0), {})
        except ExpressionError:
            raise
        except (ArithmeticError, RecursionError, TypeError, ValueError) as error:  # from SymPy's own evaluation
            self.fail(f"its value cannot be computed ({error})")
        if result.has(*_BAD):
            self.fail("its value is not real and finite")
        return result

    def convert(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            self.fail_at(node, f"it is nested more than {MAX_DEPTH} levels deep")
        match node:
            case ast.Constant():
                return self._number(node)
            case ast.Name():
                return self._name(node)
            case ast.UnaryOp(op=ast.USub()):
                return -self.convert(node.operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.convert(node.operand, depth + 1)
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self._checked(node, sympy.Add(*self._chain(node, (ast.Add, ast.Sub), depth)))
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return self._checked(node, sympy.Mul(*self._chain(node, (ast.Mult, ast.Div), depth)))
            case ast.BinOp(op=ast.Pow()):
                base, exponent = self.convert(node.left, depth + 1), self.convert(node.right, depth + 1)
                return self._power(node, base, exponent)
            case ast.Call():
                return self._call(node, depth)
            case _:
                other = f"{self.piece(node)} is not arithmetic; use + - * / ** and functions by name"
                return self.fail_at(node, _REFUSED.get(type(node), other))

    def _chain(
        self, node: ast.expr, operators: tuple[type[ast.operator], type[ast.operator]], depth: int
    ) -> list[Expr]:
        """The terms of a sum, or the factors of a product, without recursion: long polynomials are not deep."""
        inverse, parts = operators[1], []
        while isinstance(node, ast.BinOp) and isinstance(node.op, operators):
            part = self.convert(node.right, depth + 1)
            if isinstance(node.op, inverse):
                part = -part if inverse is ast.Sub else self._power(node.right, part, Integer(-1))
            parts.append(part)
            node = node.left
        if inverse is ast.Div and isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            # -(x + y)*z is minus a product, not the product of (-x - y) and z: SymPy would keep the two apart.
            parts.append(Integer(-1))
            node = node.operand
        return [self.convert(node, depth + 1), *reversed(parts)]

    def _number(self, node: ast.Constant) -> Expr:
        value: Any = node.value
        if type(value) not in (int, float):
            self.fail_at(node, f"expected a real number, got {self.piece(node)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            self.fail_at(node, "the number is too large")
        return Integer(value) if type(value) is int and abs(value) <= 2**53 else Float(number)

    def _name(self, node: ast.Name) -> Expr:
        name = node.id
        known = {**CONSTANTS, **self.symbols}
        if name in known:
            return known[name]
        if name in FUNCTIONS:
            return self.fail_at(node, f"{name!r} is a function; write {name}(...)")
        return self.fail_at(node, f"unknown name {name!r}; {_suggest(name, self.symbols, 'known names')}")

    def _call(self, node: ast.Call, depth: int) -> Expr:
        if not isinstance(node.func, ast.Name):
            inner = node.func if isinstance(node.func, ast.Attribute) else node
            self.fail_at(inner, _REFUSED.get(type(node.func), "a '*' is missing before the parenthesis"))
        name = node.func.id
        if name in self.symbols:
            self.fail_at(node, f"{name!r} is a symbol, not a function; write {name}*(...)")
        if name not in FUNCTIONS:
            self.fail_at(
                node, f"{name!r} is not a function that formulas may call; {_suggest(name, FUNCTIONS, 'functions')}"
            )
        if node.keywords:
            self.fail_at(node.keywords[0], f"{name} takes no keyword arguments")
        function, count = FUNCTIONS[name], len(node.args)
        if not function.least <= count <= function.most:
            expected = (
                str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
            )
            self.fail_at(node, f"{name} takes {expected} argument{'s' * (expected != '1')}, got {count}")
        result = function.build(*(self.convert(argument, depth + 1) for argument in node.args))
        if isinstance(result, sympy.Min | sympy.Max) and len(result.args) > MAX_CHOICES:
            self.fail_at(node, f"{name} compares more than {MAX_CHOICES} values")
        return self._checked(node, result)

    def _power(self, node: ast.expr, base: Expr, exponent: Expr) -> Expr:
        """base**exponent, whose size is bounded before SymPy computes it."""
        if base.is_zero and exponent.is_negative:
            self.fail_at(node, "division by zero")
        if not exponent.free_symbols:
            power = float(exponent)
            if abs(power) > MAX_EXPONENT:
                self.fail_at(node, f"the exponent {power:.6g} is larger than {MAX_EXPONENT}")
            if not base.free_symbols and base != 0:
                size = abs(math.log2(abs(float(base))))
                if base.is_Rational:
                    size = max(abs(part) for part in _fraction(base)).bit_length()
                if size * abs(power) > MAX_BITS and power != -1:
                    self.fail_at(node, "the power is too large or too small for a double")
        elif not base.free_symbols and float(base) < 0:
            self.fail_at(node, "a power of a negative number with a symbolic exponent is not real")
        result = sympy.Pow(base, exponent)
        combined = result.as_base_exp()[1]
        if combined.is_number and abs(float(sympy.re(combined))) > MAX_EXPONENT:
            self.fail_at(node, f"the exponents multiply to more than {MAX_EXPONENT}")
        return self._checked(node, result)

    def _checked(self, node: ast.expr, result: Expr) -> Expr:
        if result in _BAD or any(argument in _BAD for argument in result.args):
            self.fail_at(node, f"{self.piece(node)} is not real and finite")
        if result.is_extended_real is False:  # None, not known, is fine: it depends on where the state is
            self.fail_at(node, f"{self.piece(node)} is not real where its symbols have the signs that were declared")
        if not result.free_symbols and not result.is_Rational:
            value = result.evalf(17)
            if not value.is_real or not _is_double(value):
                self.fail_at(node, f"{self.piece(node)} is not a real number that fits a double")
        return Float(float(result)) if result.is_Float else result  # SymPy's exponents go beyond a double's


def _fraction(number: Any) -> tuple[int, int]:
    """Numerator and denominator of an exact SymPy number, which SymPy's annotations don't know."""
    return int(number.p), int(number.q)


def _is_double(value: Expr) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, OverflowError):
        return False


def _suggest(name: str, known: Iterable[str], what: str) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    listing = f"{what}: {', '.join(known)}" if known else f"there are no {what}"
    return f"did you mean {close[0]!r}? ({listing})" if close else listing

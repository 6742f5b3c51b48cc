"""The equation of a model in LaTeX."""

import re
from collections.abc import Sequence

import sympy
from sympy import Expr, MatrixBase, Symbol
from sympy.printing.latex import latex


def equation(
    state: Sequence[Symbol], time: Symbol, drift: Sequence[Expr], diffusion: MatrixBase, convention: str
) -> str:
    r"""dX_t = f dt + G dW_t in LaTeX; the product is \circ for Stratonovich, and several states give an aligned block.

    Example:
        >>> x, t, mu = sympy.symbols("x t mu")
        >>> print(equation([x], t, [mu * x], sympy.Matrix([[sympy.sqrt(x)]]), "ito"))
        d X_{t} = \mu X_{t} \, d t + \sqrt{X_{t}} \, d W_{t}
    """
    names = {x: _process(x, time) for x in state}
    product = r"\circ " if convention == "stratonovich" else r"\, "
    several, many_noises = len(state) > 1, diffusion.shape[1] > 1
    rows = []
    for i, x in enumerate(state):
        terms = [_term(drift[i], names, rf"\, d {time.name}")] if drift[i] != 0 else []
        for k, g in enumerate(diffusion.row(i)):
            noise = f"W^{{({k + 1})}}_{{{time.name}}}" if many_noises else f"W_{{{time.name}}}"
            if g != 0:
                terms.append(_term(g, names, f"{product}d {noise}"))
        rows.append(f"d {names[x]} {'&' * several}= {' + '.join(terms) or '0'}")
    body = r" \\ ".join(rows)
    return rf"\begin{{aligned}} {body} \end{{aligned}}" if several else body


def _term(coefficient: Expr, names: dict[Symbol, str], differential: str) -> str:
    if coefficient == 1:
        return differential.removeprefix(r"\, ").removeprefix(r"\circ ")
    text = latex(coefficient, symbol_names=names)
    sum_or_negative = isinstance(coefficient, sympy.Add) or coefficient.could_extract_minus_sign()
    return (rf"\left({text}\right) " if sum_or_negative else f"{text} ") + differential


def _process(x: Symbol, time: Symbol) -> str:
    """The state as a process: x1 becomes X_{1,t}, and a longer word stays a word."""
    letter, digits = re.fullmatch(r"(.*?)_?(\d*)", x.name).groups()  # type: ignore[union-attr]
    base = letter.upper() if len(letter) == 1 else latex(Symbol(letter))
    if len(letter) > 1 and base == letter:
        base = rf"\mathrm{{{letter}}}"
    if "_" in base and not base.startswith("\\mathrm"):
        base = f"{{{base}}}"
    return f"{base}_{{{digits + ',' if digits else ''}{time.name}}}"

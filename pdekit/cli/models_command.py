"""`pdekit models`: the catalogue, and everything about one model of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from pdekit.cli.documents import model_document, print_json
from pdekit.cli.screen import screen_width
from pdekit.cli.stating import describe_interval

if TYPE_CHECKING:
    from sympy import Expr

    from pdekit.symbolic import SymbolicSDE


def show_models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Tell everything about this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the models of the catalogue, or tell everything about one."""
    from pdekit.symbolic import models

    if name is not None:
        key, model = name, models.get(name)
        if as_json:
            print_json(model_document(key, model))
        else:
            typer.echo(_details(key, model))
        return
    found = {key: build() for key, build in models.catalogue().items()}
    if as_json:
        print_json({"models": [model_document(key, model) for key, model in found.items()]})
    else:
        _print_overview(found)


def _print_overview(found: "dict[str, SymbolicSDE]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("Name", "Equation", "Parameters", "Domain"):
        table.add_column(column, no_wrap=column == "Name")
    for key, model in found.items():
        table.add_row(key, "\n".join(_equations(model)), ", ".join(model.params), _domain(model))
    console = Console(width=max(screen_width(), 100), markup=False, highlight=False)
    console.print(table)
    console.print("pdekit models NAME tells more; pdekit fit DATA --model NAME fits one.")


def _details(key: str, model: "SymbolicSDE") -> str:
    from pdekit.report import Facts, Table, render_facts, render_table

    width = screen_width()
    facts = [("Name", key), *(("Equation", line) for line in _equations(model))]
    facts += [("Convention", "Ito" if model.convention == "ito" else "Stratonovich"), ("Domain", _domain(model))]
    facts += [("Boundary", model.boundary)] if model.boundary else []
    title = f"{model.name}: {model.description}" if model.name else model.description
    rows = tuple(
        (name, describe_interval(name, *bounds), f"{model.defaults[name]:g}" if name in model.defaults else "")
        for name, bounds in model.params.items()
    )
    forms = tuple((form.replace("_", " "), str(expression)) for form, expression in model.closed_forms.items())
    parts = [render_facts(Facts(tuple(facts), title=title), width=width)]
    parts.append(render_table(Table("", ("Parameter", "Bounds", "Example"), rows), width=width))
    if forms:
        parts.append(render_table(Table("Closed forms", ("", "Formula"), forms), width=width))
    columns = " ".join(f"--column {name}" for name in model.state_names)
    start = " ".join("--x0 1" if upper > 1 else "--x0 0.5" for _, upper in model.domain)
    parts += [
        f"Fit it:      pdekit fit data.csv {columns} --model {key} --out fit",
        f"Simulate it: pdekit simulate --model {key} {start} --horizon 10",
    ]
    return "\n".join(parts)


def _equations(model: "SymbolicSDE") -> list[str]:
    """Every equation in plain text."""
    dot = "o " if model.convention == "stratonovich" else ""
    lines = []
    for i, x in enumerate(model.state):
        row = model.diffusion_matrix.row(i)
        number = [str(j + 1) if model.noise_dim > 1 else "" for j in range(model.noise_dim)]
        noise = "".join(f" + {_factor(g)} {dot}dW{number[j]}" for j, g in enumerate(row) if g != 0)
        lines.append(f"d{x} = {_factor(model.drift[i])} dt{noise}")
    return lines


def _factor(expression: "Expr") -> str:
    """In parentheses where what follows would otherwise belong to the last term only."""
    return f"({expression})" if expression.is_Add else str(expression)


def _domain(model: "SymbolicSDE") -> str:
    return ", ".join(describe_interval(n, *d) for n, d in zip(model.state_names, model.domain, strict=True))

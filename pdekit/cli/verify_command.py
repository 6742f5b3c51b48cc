"""`pdekit verify`: a minute's evidence that pdekit computes right on this machine, with this torch."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from pdekit.cli.codes import FAILED
from pdekit.cli.documents import print_json, versions
from pdekit.cli.progress import progress_bar
from pdekit.errors import InputError

if TYPE_CHECKING:
    import torch

    from pdekit.testing.matrix import Cell

Precision = Literal["float64", "float32"]


def verify(
    device: Annotated[str, typer.Option(help="Where operators are computed: cpu, cuda, mps, ...")] = "cpu",
    dtype: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="float64 or float32, repeatable (default: both).")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Trials of each operator and form of functions.")] = 12,
    compiled: Annotated[bool, typer.Option("--compiled", help="Try torch.compile too; some minutes.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the trials.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")] = False,
) -> None:
    """Hold every operator against SymPy on this machine, and say plainly whether they agree.

    Drawn functions, equations and points; the truth is computed in thirty digits. Hollow nets are checked to the last
    bit. Exit status 0: everything agrees; 1: something does not.
    """
    from pdekit.testing.matrix import run_matrix, subjects

    place, dtypes = _device(device), _dtypes(dtype, device)
    with progress_bar(quiet=as_json or quiet) as bar:
        bar.begin("Operators against SymPy")
        cells = run_matrix(
            subjects(),
            examples=examples,
            compiled=1 if compiled else 0,
            dtypes=dtypes,
            device=place,
            seed=seed,
            progress=lambda what, done, total: bar.count(done, total),
        )
        bar.begin("Hollow nets")
        leaks = _leaks(dtypes, device)
    document = _document(cells, leaks, device)
    if as_json:
        print_json(document)
    else:
        if not quiet:
            _print_table(cells)
        for failure in [*(c.failure for c in cells if c.failure), *leaks]:
            typer.echo(f"\n{failure}")
        typer.echo(_verdict(document))
    if not document["good"]:
        raise typer.Exit(FAILED)


def _device(name: str) -> "torch.device":
    from pdekit.testing.options import check_device

    try:
        return check_device(name)
    except InputError as cause:
        raise InputError(f"--device: {cause} Leave it out for the CPU.") from None


def _dtypes(names: list[str] | None, device: str) -> list["torch.dtype"]:
    import torch

    known = get_args(Precision)
    wanted = names or [n for n in known if not (n == "float64" and device.startswith("mps"))]
    for name in wanted:
        if name not in known:
            raise InputError(f"--dtype must be {' or '.join(known)}, got {name!r}.")
    return [getattr(torch, name) for name in wanted]


def _leaks(dtypes: list["torch.dtype"], device: str) -> list[str]:
    """What is wrong with hollow nets of every kind of conditioner; nothing, one hopes."""
    from pdekit import nets
    from pdekit.testing import CheckFailure, check_hollow

    options = [
        nets.MaskedConditioner(),
        nets.ScanConditioner(),
        nets.PoolingConditioner(),
        nets.AttentionConditioner(),
        nets.HollowTransformerConditioner(),
        nets.ConvolutionConditioner(shape=(6,)),
    ]
    found = []
    for option in options:
        for dtype in dtypes:
            net = nets.HollowNet(6, option, seed=0).to(device, dtype)
            try:
                check_hollow(net, 6, dtype=dtype, device=device)
            except CheckFailure as failure:
                found.append(f"{type(option).__name__}, {dtype}: {failure}")
    return found


def _document(cells: list["Cell"], leaks: list[str], device: str) -> dict[str, Any]:
    bad = [c for c in cells if not c.good]
    return {
        "good": not bad and not leaks,
        "device": device,
        "versions": versions(),
        "trials": sum(c.trials for c in cells),
        "worst": max(c.units for c in cells),
        "cells": [{k: v for k, v in vars(c).items() if k != "seconds"} | {"good": c.good} for c in cells],
        "hollow": leaks,
    }


def _print_table(cells: list["Cell"]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("Operator", "Methods", "Trials", "Worst error", "Wrong"):
        table.add_column(column, justify="left" if column in ("Operator", "Methods") else "right")
    for name in dict.fromkeys(c.operator for c in cells):
        own = [c for c in cells if c.operator == name]
        methods = ", ".join(dict.fromkeys(c.method for c in own))
        worst, wrong = max(c.units for c in own), sum(c.violations for c in own)
        table.add_row(name, methods, f"{sum(c.trials for c in own):,}", f"{worst:.2g}", str(wrong))
    console = Console(width=110, markup=False, highlight=False)
    console.print(table)
    console.print("Errors are in units of eps sum|terms|: what rounding alone may do. 100 are allowed.")


def _verdict(document: dict[str, Any]) -> str:
    about = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    if document["good"]:
        return (
            f"Verified: {document['trials']:,} trials on {document['device']}, no disagreement with SymPy, no leak in "
            f"hollow nets ({about})."
        )
    bad = sum(not c["good"] for c in document["cells"]) + len(document["hollow"])
    return f"NOT verified on {document['device']}: {bad} checks fail, see above ({about}). Please report this."

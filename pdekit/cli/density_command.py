"""`pdekit density`: how the probability density of a model moves, or where it comes to rest."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdekit.cli.arguments import assignments, interval, name_list, number_list
from pdekit.cli.density_method import METHODS, density_method
from pdekit.cli.density_output import TABLE_FILES, density_document, print_tables, read_points, write_table
from pdekit.cli.documents import print_json
from pdekit.cli.initial_law import read_initial
from pdekit.cli.keeping import check_file, write_whole
from pdekit.cli.progress import progress_bar
from pdekit.cli.stating import Statement, check_names
from pdekit.cli.writing import PLOT_FILES
from pdekit.errors import ExpressionError, InputError

if TYPE_CHECKING:
    from pdekit.fokker_planck import DensitySolution, FokkerPlanckProblem
    from pdekit.symbolic import SymbolicSDE

Texts = list[str] | None
_MODEL, _PROBLEM, _METHOD, _RESULT = "Model", "Problem", "Method", "Results"


def show_density(
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the catalogue: pdekit models.", rich_help_panel=_MODEL)
    ] = None,
    drift: Annotated[
        Texts, typer.Option(metavar="FORMULA", help="Drift of your own model, once per state.", rich_help_panel=_MODEL)
    ] = None,
    diffusion: Annotated[
        Texts,
        typer.Option(
            metavar="FORMULA",
            help="Diffusion g (not g^2), once per state; 'g11; g12' is a row of a matrix.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    state: Annotated[
        Texts, typer.Option(metavar="NAME", help="Names of the states (default: x).", rich_help_panel=_MODEL)
    ] = None,
    set_: Annotated[
        Texts,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A parameter (of --model: else its example).", rich_help_panel=_MODEL
        ),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(metavar="ito|stratonovich", help="Of your own model (default: ito).", rich_help_panel=_MODEL),
    ] = None,
    initial: Annotated[
        Texts,
        typer.Option(
            metavar="LAW",
            help="At the start, once per state: a number or 'normal(mean, sd)'; or once a file of samples with the "
            "states as columns, or a density as a formula.",
            rich_help_panel=_PROBLEM,
        ),
    ] = None,
    times: Annotated[
        Texts, typer.Option(metavar="TIMES", help="When: 0.5,1,2. The start is at 0.", rich_help_panel=_PROBLEM)
    ] = None,
    stationary: Annotated[
        bool, typer.Option("--stationary", help="The density that does not change.", rich_help_panel=_PROBLEM)
    ] = False,
    domain: Annotated[
        Texts,
        typer.Option(metavar="LOW:HIGH", help="Once per state (default: the model's own).", rich_help_panel=_PROBLEM),
    ] = None,
    boundary: Annotated[
        Texts,
        typer.Option(
            metavar="RULE",
            help="natural, reflecting, absorbing or periodic: for all, or once per state; 'absorbing:natural' for "
            "the two sides of one.",
            rich_help_panel=_PROBLEM,
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help=", ".join(METHODS) + ".", rich_help_panel=_METHOD)
    ] = "auto",
    cells: Annotated[
        int | None, typer.Option(help="Of a grid, along each state (default: until exact).", rich_help_panel=_METHOD)
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(help="Of monte-carlo, score, residual and flow (default: their own).", rich_help_panel=_METHOD),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the training: score, flow.", rich_help_panel=_METHOD)] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keeps the training: the same command goes on from it.", rich_help_panel=_METHOD
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.", rich_help_panel=_METHOD)] = 0,
    at: Annotated[
        Texts,
        typer.Option(metavar="STATE", help="Print the density there: 0.5, or 0.5,1 for two.", rich_help_panel=_RESULT),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A table of the density, as .csv or .parquet.", rich_help_panel=_RESULT),
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="A picture, as .png, .svg or .pdf.", rich_help_panel=_RESULT)
    ] = None,
    animate: Annotated[
        str | None, typer.Option(metavar="FILE", help="A film of the times, as .gif.", rich_help_panel=_RESULT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace these files.", rich_help_panel=_RESULT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and nothing else.", rich_help_panel=_RESULT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=_RESULT)] = False,
) -> None:
    """Solve the Fokker-Planck equation of a model: its probability density at times, or at equilibrium."""
    when = number_list(times, "--times")
    if bool(when) == stationary:
        raise InputError("Give either --times, such as --times 0.5,1, or --stationary.")
    if when and not initial:
        raise InputError("--times needs --initial, such as --initial 1 or --initial 'normal(0, 0.5)'.")
    if animate is not None and len(when) < 2:
        raise InputError("--animate needs two --times or more.")
    own = (tuple(drift or ()), tuple(diffusion or ()), name_list(state))
    problem = _problem(Statement(model, *own, convention=convention), set_, initial, domain, boundary)
    chosen = density_method(method, seed, cells=cells, paths=paths, steps=steps, checkpoint=checkpoint)
    points = read_points(at, problem.sde.names)
    files = {
        flag: check_file(path, suffixes, flag, overwrite=overwrite)
        for flag, path, suffixes in (
            ("--out", out, TABLE_FILES),
            ("--plot", plot, PLOT_FILES),
            ("--animate", animate, (".gif",)),
        )
        if path is not None
    }
    with progress_bar(quiet=as_json or quiet) as bar:
        bar.begin("Solving")
        if hasattr(chosen, "progress"):
            chosen = replace(chosen, progress=bar.share)  # type: ignore[call-arg]
        solution = problem.stationary(chosen) if stationary else problem.solve(when, chosen)
        bar.begin("Writing")
        _write(solution, files)
    if as_json:
        print_json(density_document(solution, points) | {flag.strip("-"): str(path) for flag, path in files.items()})
    elif not quiet:
        print_tables(solution, points)
        for path in files.values():
            typer.echo(f"Wrote {path}.")


def _write(solution: "DensitySolution", files: dict[str, Any]) -> None:
    if "--out" in files:
        write_whole(files["--out"], lambda draft: write_table(solution, draft))
    if "--plot" in files:
        write_whole(files["--plot"], lambda draft: solution.plot().savefig(draft, dpi=150))
    if "--animate" in files:
        write_whole(files["--animate"], lambda draft: solution.animate(draft))


def _problem(
    statement: Statement, set_: Texts, initial: Texts, domain: Texts, boundary: Texts
) -> "FokkerPlanckProblem":
    from pdekit.fokker_planck import FokkerPlanckProblem

    model = _with_numbers(statement, assignments(set_, "--set"))
    ends = [interval(text, "--domain") for text in domain or ()] or None
    if ends is not None and len(ends) != model.dim:
        raise InputError(f"--domain is given once per state ({', '.join(model.state_names)}); got {len(ends)}.")
    start, sides = read_initial(initial, model.state_names), _sides(boundary, model.state_names)
    problem = FokkerPlanckProblem(model, start, domain=ends, boundary=sides)
    if isinstance(start, str):
        try:
            problem.law  # noqa: B018 - read now, so that the message can name the flag
        except ExpressionError as error:
            raise ExpressionError(f"--initial: {error}") from None
    return problem


def _with_numbers(statement: Statement, values: dict[str, float]) -> "SymbolicSDE":
    model = statement.build()
    check_names(model, values, "--set")
    values = {**model.defaults, **values}
    missing = [name for name in model.params if name not in values]
    if missing:
        raise InputError(f"The parameters {', '.join(missing)} have no values: give --set {missing[0]}=1 and so on.")
    return model.fix(**values)


def _sides(boundary: Texts, states: tuple[str, ...]) -> Any:
    given = name_list(boundary) or ("natural",)
    rules = [tuple(part.strip() for part in rule.split(":")) for rule in given]
    pairs = [rule * 2 if len(rule) == 1 else rule for rule in rules]
    if len(pairs) == 1:
        pairs *= len(states)
    if len(pairs) != len(states):
        raise InputError(f"--boundary is given once, or once per state ({', '.join(states)}); got {len(pairs)}.")
    return pairs

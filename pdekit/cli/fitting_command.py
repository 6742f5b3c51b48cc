"""`pdekit fit`: a file and a model in, a table, flags and a folder with a report out."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdekit.cli.arguments import assignments, interval, intervals, name_list
from pdekit.cli.documents import fit_document, print_json
from pdekit.cli.keeping import Profiles, keep_fit
from pdekit.cli.progress import Bar, progress_bar
from pdekit.cli.reading import check_file, read_series, read_snapshots
from pdekit.cli.screen import intervals_table, screen_width, wrapped
from pdekit.cli.stating import Statement, check_names
from pdekit.cli.ways import LEARNERS, check_method, check_training, learner, observation
from pdekit.errors import ConvergenceError, InputError

if TYPE_CHECKING:
    from pdekit.fitting import Fit

Texts = list[str] | None
_DATA, _MODEL, _SEARCH, _RESULT = "Data", "Model", "Search", "Results"


def fit_series(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A .csv, .tsv, .txt, .parquet or .npz file.")],
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of times (default: the first).", rich_help_panel=_DATA),
    ] = None,
    column: Annotated[
        Texts,
        typer.Option(metavar="COLUMN", help="An observed column, in the order of the states.", rich_help_panel=_DATA),
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column that tells paths apart.", rich_help_panel=_DATA)
    ] = None,
    log: Annotated[
        Texts, typer.Option(metavar="COLUMN", help="Take the logarithm of this column.", rich_help_panel=_DATA)
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help="The unit of time (dates: year).", rich_help_panel=_DATA)
    ] = None,
    fixed_dt: Annotated[
        str | None,
        typer.Option(metavar="STEP", help="Equal steps, such as 1/252 for business days.", rich_help_panel=_DATA),
    ] = None,
    reverse_time: Annotated[
        bool | None,
        typer.Option(
            "--reverse-time/--no-reverse-time", help="Times count backwards, as ages do.", rich_help_panel=_DATA
        ),
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort rows by time.", rich_help_panel=_DATA)] = False,
    max_gap: Annotated[
        str | None, typer.Option(metavar="STEP", help="Split paths at longer steps.", rich_help_panel=_DATA)
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="As strptime takes it: %d.%m.%Y.", rich_help_panel=_DATA)
    ] = None,
    na: Annotated[
        Texts, typer.Option(metavar="TEXT", help="Also marks a missing value: -999.", rich_help_panel=_DATA)
    ] = None,
    decimal: Annotated[str, typer.Option(metavar="MARK", help="The decimal mark.", rich_help_panel=_DATA)] = ".",
    delimiter: Annotated[
        str | None, typer.Option(metavar="MARK", help="Between cells (default: found out).", rich_help_panel=_DATA)
    ] = None,
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
    positive: Annotated[
        Texts, typer.Option(metavar="NAMES", help="Parameters that are positive: a,b.", rich_help_panel=_MODEL)
    ] = None,
    bounds: Annotated[
        Texts, typer.Option(metavar="NAME=LOW:HIGH", help="Bounds of a parameter.", rich_help_panel=_MODEL)
    ] = None,
    fix: Annotated[Texts, typer.Option(metavar="NAME=VALUE", help="Hold a parameter.", rich_help_panel=_MODEL)] = None,
    convention: Annotated[
        str | None,
        typer.Option(metavar="ito|stratonovich", help="Of your own model (default: ito).", rich_help_panel=_MODEL),
    ] = None,
    domain: Annotated[
        Texts,
        typer.Option(
            metavar="LOW:HIGH",
            help="Where your own model lives, once per state (default: where its formulas are defined).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="auto, mle; without a model sparse, km, neural; snapshots for unpaired samples; or a density: "
            "closed-form, fokker-planck, bridge, euler, kessler, ozaki, shoji-ozaki, ait-sahalia.",
            rich_help_panel=_SEARCH,
        ),
    ] = "auto",
    start: Annotated[
        Texts, typer.Option(metavar="NAME=VALUE", help="A starting value.", rich_help_panel=_SEARCH)
    ] = None,
    term: Annotated[
        Texts, typer.Option(metavar="FORMULA", help="A candidate of the drift, for sparse.", rich_help_panel=_SEARCH)
    ] = None,
    noise_term: Annotated[
        Texts, typer.Option(metavar="FORMULA", help="A candidate of g^2, for sparse.", rich_help_panel=_SEARCH)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the training, for neural (default 6000).", rich_help_panel=_SEARCH),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="End the training at the next round after this time, for neural.", rich_help_panel=_SEARCH),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Keep the training here, for neural: go on from it.", rich_help_panel=_SEARCH
        ),
    ] = None,
    observed: Annotated[
        Texts,
        typer.Option(metavar="NAMES", help="The states that the columns are, if not all: x,y.", rich_help_panel=_MODEL),
    ] = None,
    measurement_noise: Annotated[
        Texts,
        typer.Option(
            metavar="LEVEL",
            help="Standard deviation of noise on the readings: a number or estimate; NAME=LEVEL for one state.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Profile-likelihood intervals, too.", rich_help_panel=_SEARCH)
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.", rich_help_panel=_SEARCH)] = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where results go; it is made.", rich_help_panel=_RESULT)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result.", rich_help_panel=_RESULT)
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Leave report.html out.", rich_help_panel=_RESULT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and nothing else.", rich_help_panel=_RESULT)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=_RESULT)] = False,
) -> None:
    """Fit a stochastic differential equation to observed series.

    With a model: by maximum likelihood. Without one, a formula is looked for (sparse), or drift and diffusion are
    learned as functions (km, neural, snapshots).

    With --out, a folder is left with report.html, params.csv, and the fitted model for pdekit simulate.
    """
    layout: dict[str, Any] = {
        "time": time,
        "columns": tuple(column or ()),
        "id": id,
        "log": tuple(log or ()),
        "time_unit": time_unit,
        "fixed_dt": fixed_dt,
        "reverse_time": reverse_time,
        "sort": sort,
        "max_gap": max_gap,
        "date_format": date_format,
        "na_values": tuple(na or ()),
        "delimiter": delimiter,
        "decimal": None if decimal == "." else decimal,
    }
    check_file(data)
    limits = dict.fromkeys(name_list(positive), (0.0, None)) | intervals(bounds, "--bounds")
    stated = bool(model or drift or diffusion)
    check_method(method, stated=stated)
    training = {"steps": steps, "seconds": seconds, "checkpoint": checkpoint}
    way = None if stated else learner(method, tuple(term or ()), tuple(noise_term or ()), training)
    check_training(method, training)
    if stated and (term or noise_term):
        raise InputError("--term and --noise-term belong to --method sparse, which takes no model.")
    _check_alone(way, start=start, fix=fix, observed=observed, measurement_noise=measurement_noise)
    statement = way or Statement(
        name=model,
        drift=tuple(drift or ()),
        diffusion=tuple(diffusion or ()),
        states=name_list(state),
        bounds=tuple(limits.items()),
        convention=convention,
        domain=tuple(interval(text, "--domain") for text in domain or ()),
    )
    options = {
        "fixed": assignments(fix, "--fix"),
        "start": assignments(start, "--start"),
        "method": "auto" if method in (*LEARNERS, "mle", "snapshots") else method,
        "observation": observation(name_list(observed), measurement_noise or []),
        "seed": seed,
        "snapshots": method in ("snapshots", "grid", "weak"),
    }
    silent = as_json or quiet
    _check_before(out, overwrite)
    with progress_bar(total=4.0 + profile, quiet=silent) as bar:
        found, notes = _fit(data, layout, statement, options, bar, silent)
        profiles, reasons = _profiles(found, bar) if profile else ({}, ())
        bar.begin("Checking the fit")
        found.diagnostics()
        bar.begin("Writing the results")
        if out is not None:
            command = str(context.obj["command"])
            keep_fit(found, out, overwrite=overwrite, command=command, profiles=profiles, report=not no_report)
    if as_json:
        print_json(fit_document(found, profiles, notes + reasons, out))
    elif not quiet:
        typer.echo(found.summary(width=screen_width()))
        if profiles:
            typer.echo("\n".join((intervals_table(profiles), *reasons)) + "\n")
        typer.echo(_where(out, report=not no_report))


def _check_alone(way: Any, **flags: Any) -> None:
    """Refuses what belongs to a model with parameters where there is none."""
    given = [name for name, value in flags.items() if value]
    if way is not None and given:
        raise InputError(
            f"--{given[0].replace('_', '-')} belongs to a model: give --model, or --drift and --diffusion."
        )


def _check_before(out: str | None, overwrite: bool) -> None:
    """Refuses early what would only fail after the work."""
    from pdekit.fitting.storage import check_folder

    if out is not None:
        check_folder(out, overwrite=overwrite)


def _fit(
    path: str, layout: dict[str, Any], statement: Any, options: dict[str, Any], bar: Bar, silent: bool
) -> "tuple[Fit, tuple[str, ...]]":
    from pdekit.data import Snapshots
    from pdekit.fitting import fit
    from pdekit.fitting.ways import check_domain

    bar.begin(f"Reading {path}")
    unpaired = options.pop("snapshots")
    if not isinstance(statement, Statement):
        return _learn(path, layout, statement, options["seed"], bar, silent, unpaired)
    model = statement.build()
    for flag, name in (("--fix", "fixed"), ("--start", "start")):
        check_names(model, options[name], flag)
    series = read_snapshots(path, layout) if unpaired else read_series(path, layout)
    statement.check_columns(model, series)
    model, notes = statement.suit(model, series)
    if options["observation"] is None and not isinstance(series, Snapshots):
        check_domain(model, series)
    if not silent:
        typer.echo(wrapped("\n".join((series.describe(), *notes))) + "\n")
    bar.begin("Fitting")
    return fit(model, series, **options, progress=bar.likelihood), notes


def _learn(
    path: str, layout: dict[str, Any], way: Any, seed: int, bar: Bar, silent: bool, unpaired: bool
) -> "tuple[Fit, tuple[str, ...]]":
    """A fit without a stated model."""
    from pdekit.fitting import fit

    series = read_snapshots(path, layout) if unpaired else read_series(path, layout)
    if not silent:
        typer.echo(wrapped(series.describe()) + "\n")
    bar.begin("Fitting")
    return fit(way, series, seed=seed, progress=lambda what, number: bar.detail(f"{what} {number:.3g}")), ()


def _profiles(found: "Fit", bar: Bar) -> tuple[Profiles, tuple[str, ...]]:
    """The intervals, and why those that are missing could not be found."""
    bar.begin("Profile intervals")
    ends: dict[str, tuple[float, float] | None] = {}
    reasons = []
    for name in found.params:
        bar.detail(name)
        try:
            ends[name] = found.interval(name, kind="profile")
        except ConvergenceError as error:
            # An interval that can't be found must not cost the fit; it stays blank, and the reason is said.
            ends[name] = None
            reasons.append(f"No profile interval of {name}: {error}")
    return ends, tuple(reasons)


def _where(out: str | None, *, report: bool) -> str:
    if out is None:
        return "Nothing was written; --out FOLDER keeps the fit and makes a report."
    folder = out.rstrip("/") or out
    return f"Open {folder}/report.html." if report else f"The fit is in {folder}/."

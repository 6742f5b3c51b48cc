"""`pdekit simulate`: futures of a fitted series, or paths of a catalogue model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdekit.cli.arguments import assignments, number_list
from pdekit.cli.documents import print_json, versions
from pdekit.cli.keeping import check_file, write_whole
from pdekit.cli.progress import progress_bar
from pdekit.cli.screen import screen_width
from pdekit.cli.writing import PATH_FILES, PLOT_FILES, write_paths
from pdekit.errors import InputError

if TYPE_CHECKING:
    from pdekit.cli.progress import Bar
    from pdekit.simulation import Simulation

_MOST_TIMES = 10_000_000
_OUTPUT_STEPS = 100


def simulate_paths(
    fit: Annotated[
        str | None, typer.Argument(metavar="FIT", help="A folder that pdekit fit --out made; or give --model.")
    ] = None,
    paths: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    horizon: Annotated[
        float | None, typer.Option(help="How far, in the unit of time (default: as long as the data).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A model of the catalogue instead of a fit.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of --model, else its example.")
    ] = None,
    x0: Annotated[
        list[str] | None, typer.Option(metavar="NUMBER", help="Where --model starts, once per state.")
    ] = None,
    step: Annotated[
        float | None, typer.Option(help="Between outputs of --model (default: a hundredth of the horizon).")
    ] = None,
    dt: Annotated[float | None, typer.Option(help="Longest internal step (default: found by a pilot run).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the noise (default: the fit's, or 0).")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="All paths, as .csv or .parquet (long format) or .npz.")
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="A picture, as .png, .svg or .pdf.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Simulate paths that continue a fitted series, or that follow a model of the catalogue.

    The paths use the estimates as if they were exact: the uncertainty of parameters is not in them.
    """
    if (fit is None) == (model is None):
        raise InputError("Give either the folder of a fit, or --model NAME; see pdekit simulate --help.")
    if fit is not None and (set_ or x0 or step is not None):
        raise InputError("--set, --x0 and --step belong to --model; a fit brings its own.")
    table = None if out is None else check_file(out, PATH_FILES, "--out", overwrite=overwrite)
    picture = None if plot is None else check_file(plot, PLOT_FILES, "--plot", overwrite=overwrite)
    unit, origin = "time unit", None
    with progress_bar(quiet=as_json or quiet) as bar:
        if fit is not None:
            from pdekit.fitting import Fit

            bar.begin("Reading the fit")
            found = Fit.load(fit)
            unit, origin = found.data.time_unit, found.data.origin
            bar.begin("Simulating")
            run = found.simulate(paths=paths, horizon=horizon, seed=seed, dt=dt, progress=bar.count)
        else:
            bar.begin("Simulating")
            values = assignments(set_, "--set")
            start = number_list(x0, "--x0")
            run = _from_catalogue(str(model), values, start, horizon, step, bar, paths=paths, dt=dt, seed=seed or 0)
        bar.begin("Writing")
        if table is not None:
            write_whole(table, lambda draft: write_paths(run, draft))
        if picture is not None:
            write_whole(picture, lambda draft: run.plot().savefig(draft, dpi=150))
    if as_json:
        print_json(_document(run, unit, origin, out, plot))
    elif not quiet:
        from pdekit.cli.quantiles import quantile_tables

        typer.echo("\n".join(quantile_tables(run, unit, origin, width=screen_width())))
        typer.echo(_closing(run))
        for path in (out, plot):
            if path is not None:
                typer.echo(f"Wrote {path}.")


def _from_catalogue(
    name: str,
    values: dict[str, float],
    x0: tuple[float, ...],
    horizon: float | None,
    step: float | None,
    bar: "Bar",
    **options: Any,
) -> "Simulation":
    import torch

    from pdekit.cli.stating import check_names
    from pdekit.simulation import simulate
    from pdekit.symbolic import models

    model = models.get(name)
    check_names(model, values, "--set")
    if len(x0) != model.dim:
        raise InputError(
            f"{name} has {model.dim} state(s) ({', '.join(model.state_names)}) and starts at as many numbers; got "
            f"{len(x0)} with --x0."
        )
    if horizon is None or not 0.0 < horizon < float("inf"):
        raise InputError(f"--model needs a positive --horizon, got {'none' if horizon is None else f'{horizon:g}'}.")
    step = horizon / _OUTPUT_STEPS if step is None else step
    if not 0.0 < step <= horizon:
        raise InputError(f"--step must be positive and at most the horizon of {horizon:g}, got {step:g}.")
    if horizon / step > _MOST_TIMES:
        raise InputError(
            f"A horizon of {horizon:g} in steps of {step:g} makes over {_MOST_TIMES:,} times; ask for less."
        )
    # Rounding must not lose the last step of a horizon that is a whole number of them.
    times = step * torch.arange(int(horizon / step * (1.0 + 1e-9)) + 1, dtype=torch.float64)
    sde = model.at(**{**model.defaults, **values})
    return simulate(sde, torch.tensor(x0, dtype=torch.float64), times, progress=bar.count, **options)


def _closing(run: "Simulation") -> str:
    touched = int(run.touched.sum())
    met = f" {touched:,} of them met the boundary ({run.boundary})." if touched else ""
    paths = "1 path" if run.paths == 1 else f"{run.paths:,} paths"
    return f"{paths}, {run.scheme}, steps of at most {run.dt:.4g}, seed {run.seed}.{met}"


def _document(run: "Simulation", unit: str, origin: str | None, out: str | None, plot: str | None) -> dict[str, Any]:
    from pdekit.cli.quantiles import quantile_document

    return {
        **quantile_document(run),
        "paths": run.paths,
        "time_unit": unit,
        "origin": origin,
        "scheme": run.scheme,
        "dt": run.dt,
        "boundary": run.boundary,
        "touched_boundary": int(run.touched.sum()),
        "status": run.status,
        "seed": run.seed,
        "versions": versions(),
        "out": out,
        "plot": plot,
    }

"""The commands put together, and usage errors in one line."""

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from pdekit import __version__
from pdekit.cli.codes import INTERRUPTED
from pdekit.cli.density_command import show_density
from pdekit.cli.fitting_command import fit_series
from pdekit.cli.models_command import show_models
from pdekit.cli.simulate_command import simulate_paths
from pdekit.cli.verify_command import verify
from pdekit.errors import InputError

app = typer.Typer(
    name="pdekit",
    help="Fit stochastic differential equations to series, simulate them, and solve for their densities.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("fit")(fit_series)
app.command("simulate")(simulate_paths)
app.command("density")(show_density)
app.command("models")(show_models)
app.command("verify")(verify)

# typer keeps the class to itself, under one name in some versions and another in others.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run(arguments: Sequence[str]) -> int:
    """Runs one command.

    Returns:
        Its exit code.

    Raises:
        InputError: If the arguments don't fit the command.
        PdekitError: Whatever the command raises.
    """
    command = typer.main.get_command(app)
    about = {"command": shlex.join(["pdekit", *arguments])}
    try:
        code = command.main(args=list(arguments), prog_name="pdekit", standalone_mode=False, obj=about)
    except typer.Abort:
        return INTERRUPTED
    except _UsageError as error:
        raise InputError(_usage_text(error)) from None
    return code if isinstance(code, int) else 0


def _usage_text(error: BaseException) -> str:
    said = error.format_message() if hasattr(error, "format_message") else str(error)  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "pdekit"
    return f"{said.rstrip('.')}. See {path} --help."


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pdekit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="With any command: print the traceback of an error.")] = False,
) -> None:
    """Options of `pdekit` itself; `main` has taken --debug out already, so that it may stand anywhere."""

"""What a command leaves on disk, each file or folder whole or not at all."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pdekit.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

    from pdekit.fitting import Fit

Profiles = Mapping[str, tuple[float, float] | None]


def keep_fit(fit: "Fit", folder: str, *, overwrite: bool, command: str, profiles: Profiles, report: bool) -> None:
    """Writes a fit for people and machines: a table, `report.html`, and what `Fit.load` reads.

    Raises:
        InputError: If the folder may not or can't be written.
    """
    from pdekit.fitting.archive import save_fit
    from pdekit.fitting.storage import whole_folder

    with whole_folder(folder, overwrite=overwrite) as draft:
        save_fit(fit, draft)
        table = "params.csv" if fit.params else "coefficients.csv"
        parameter_frame(fit, profiles).to_csv(draft / table, lineterminator="\n")
        if report:
            fit.report(draft / "report.html", command=command)


def parameter_frame(fit: "Fit", profiles: Profiles) -> "DataFrame":
    """The parameter table, with the ends of profile intervals where there are some."""
    frame = fit.to_dataframe()
    if profiles:
        for side, column in enumerate(("profile_lower_95", "profile_upper_95")):
            ends = [profiles.get(str(name)) for name in frame.index]
            frame[column] = [None if end is None else end[side] for end in ends]
    return frame


def check_file(path: str, suffixes: tuple[str, ...], flag: str, *, overwrite: bool) -> Path:
    """The path, if a file may be written there; asked before the work, so that none is lost.

    Raises:
        InputError: If its suffix is unknown, it exists and may not be replaced, or its folder can't be written.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{flag} names a {', '.join(suffixes[:-1])} or {suffixes[-1]} file; got {path!r}.")
    if target.is_dir():
        raise InputError(f"{flag} names a file, and {path!r} is a folder.")
    if target.exists() and not overwrite:
        raise InputError(
            f"The file {path!r} of {flag} exists. Choose another name, or allow to replace it (--overwrite)."
        )
    folder = target.absolute().parent
    if not folder.is_dir():
        raise InputError(f"The folder {str(folder)!r} of {flag} does not exist. Make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path!r} can't be written: no permission to write in {str(folder)!r}.")
    return target


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a draft beside the target, and renames it when it is complete."""
    # Of the same suffix, since that tells some writers the format.
    draft = target.absolute().parent / f".{secrets.token_hex(8)}{target.suffix}"
    try:
        write(draft)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)

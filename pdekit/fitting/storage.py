"""Folders that are written whole or not at all, and the format of a saved fit inside them."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from pdekit.errors import InputError

FORMAT = 2
DOCUMENT = "model.json"
ARRAYS = "arrays.safetensors"
KIND = "fit"
OWN_FILES = frozenset({DOCUMENT, ARRAYS, "params.csv", "coefficients.csv", "report.html"})


def check_folder(folder: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The folder as a path, if results may be written there.

    Raises:
        InputError: If it exists and may not be replaced, is not a result of pdekit, or its parent can't be written.
    """
    path = Path(folder)
    if path.exists():
        if not path.is_dir():
            raise InputError(f"The output folder {path} exists and is a file. Choose another name.")
        if not overwrite:
            raise InputError(
                f"The output folder {path} exists. Choose another name, or allow to replace it (--overwrite)."
            )
        _check_replaceable(path)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise InputError(f"The folder {parent} for the output does not exist. Make it first.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"The output folder {path} can't be written: no permission to write in {parent}.")
    return path


def _check_replaceable(path: Path) -> None:
    """Raises InputError unless the folder is empty or holds a fit and nothing else."""
    entries = sorted(entry.name for entry in path.iterdir())
    if not entries:
        return
    try:
        found = json.loads((path / DOCUMENT).read_text(encoding="utf-8"))
        is_fit = isinstance(found, dict) and found.get("kind") == KIND and "format" in found
    except (OSError, ValueError, RecursionError):
        is_fit = False
    if not is_fit:
        raise InputError(f"The folder {path} holds no fit, so it is not replaced. Choose another name.")
    others = [name for name in entries if name not in OWN_FILES]
    if others:
        raise InputError(
            f"The folder {path} holds {others[0]!r} beside a fit, so it is not replaced. Move that away, "
            "or choose another name."
        )


@contextmanager
def whole_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends without an error.

    Until then, and if it is interrupted, what was there before stays as it was.
    """
    path = check_folder(folder, overwrite=overwrite).absolute()
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise InputError(f"The output folder {path} can't be written: {error.strerror}.") from error
    try:
        # mkdtemp makes it private; a result should be as readable as any other new folder.
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o777 & ~umask)
        yield draft
        _swap(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _swap(draft: Path, path: Path) -> None:
    """Puts `draft` in the place of `path`; if that is interrupted, `path` is put back."""
    if not path.exists():
        os.replace(draft, path)
        return
    attic = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    previous = attic / "previous"
    try:
        os.replace(path, previous)
        os.replace(draft, path)
    finally:
        if previous.exists() and not path.exists():
            os.replace(previous, path)
        if path.exists():
            shutil.rmtree(attic, ignore_errors=True)


def write_document(folder: Path, document: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
    """Writes `model.json` and `arrays.safetensors`."""
    from safetensors.torch import save

    text = json.dumps({"format": FORMAT, "kind": KIND, **document}, indent=2, allow_nan=False)
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
    (folder / ARRAYS).write_bytes(save({name: tensor.detach().clone().contiguous() for name, tensor in arrays.items()}))


def read_document(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads them back.

    Raises:
        InputError: If the folder holds no fit, or one of an unknown format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder)
    for name in (DOCUMENT, ARRAYS):
        if not (path / name).is_file():
            raise InputError(f"{path} holds no saved fit: {name} is missing.")
    try:
        document = json.loads((path / DOCUMENT).read_text(encoding="utf-8"))
        arrays = load_file(path / ARRAYS)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, SafetensorError) as error:
        raise InputError(f"The saved fit in {path} can't be read: {error}.") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise InputError(f"The saved fit in {path} has format {found!r}; this version of pdekit reads format {FORMAT}.")
    return document, arrays

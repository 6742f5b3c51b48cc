"""Results as files: tensors in safetensors, the rest as JSON in the header; never pickle."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import DataError, InputError
from pdekit.ode.counting import Counts

VERSION = "1.0"


def write(path: Any, kind: str, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a file, as a whole or not at all.

    Args:
        path: Where to.
        kind: What it holds, such as `"solution"`: `read` asks for the same.
        about: What goes into the header.
        tensors: What else.

    Raises:
        InputError: If there is no such folder, or it can't be written to.
    """
    from safetensors.torch import save

    path = _path(path)
    if not path.parent.is_dir():
        raise InputError(f"Can't write {path}: there is no folder {path.parent}. Make it first.")
    header = {"format": f"pdekit-{kind}", "version": VERSION} | about
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(save(plain, {kind: json.dumps(header)}))
        os.replace(scratch, path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            scratch.unlink()


def read(path: Any, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file.

    Raises:
        InputError: If it can't be read.
        DataError: If it holds something else, or was written by a later major version.
    """
    from safetensors import SafetensorError, safe_open

    path = _path(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(kind, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"No such file: {path}") from error
    except OSError as error:
        raise InputError(f"Can't read {path}: {error.strerror or error}.") from error
    except (SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a saved {kind}: {error}") from error
    if not isinstance(about, dict) or about.get("format") != f"pdekit-{kind}":
        raise DataError(f"{path} is not a saved {kind}: its header has no pdekit-{kind} entry.")
    version = str(about.get("version", ""))
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise DataError(f"{path} has format version {version}; this pdekit reads {VERSION}. Use a newer pdekit.")
    return about, tensors


def counts_as_tensors(counts: Counts) -> dict[str, Tensor]:
    """What it cost, as `counts_from` reads it."""
    return {f"counts.{name}": torch.as_tensor(array) for name, array in counts}


def counts_from(tensors: dict[str, Tensor]) -> Counts:
    """What it cost."""
    return Counts(**{name[7:]: array.numpy() for name, array in tensors.items() if name.startswith("counts.")})


@contextmanager
def complete(path: Any) -> Iterator[None]:
    """What is missing in a file that was read is said to be missing.

    Raises:
        DataError: If something is.
    """
    try:
        yield
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is incomplete or damaged: {error}.") from error


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not Path(path).name or "\0" in str(path):
        raise InputError(f"path must name a file, got {path!r}.")
    return Path(path)


__all__ = ["complete", "counts_as_tensors", "counts_from", "read", "write"]

"""A network in one safetensors file: its parameters, and its architecture as JSON in the header. Never pickle."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pdekit.errors import InputError

FORMAT = 1
KEY = "pdekit"


def write_network(
    path: str | os.PathLike[str], kind: str, architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write the file whole, or leave what was there as it is.

    Raises:
        InputError: If it can't be written.
    """
    from safetensors.torch import save

    text = json.dumps({"format": FORMAT, "kind": kind, "architecture": architecture}, allow_nan=False)
    # Copies, because safetensors refuses tensors that share memory.
    data = save({name: t.detach().clone().contiguous() for name, t in tensors.items()}, metadata={KEY: text})
    path = Path(path)
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes it private; a network should be as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}.") from error
    finally:
        Path(draft).unlink(missing_ok=True)


def read_network(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The architecture and the parameters of a network of this kind.

    Raises:
        InputError: If there is no such file, it holds no network of this kind, or its format is unknown.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise InputError(f"{path} can't be read as a saved network: {error}.") from error
    if not isinstance(document, dict) or not isinstance(document.get("architecture"), dict):
        raise InputError(f"{path} is a safetensors file without a network of pdekit in it.")
    if document.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {document.get('format')!r}; this version of pdekit reads format {FORMAT}. Use the "
            "version of pdekit that wrote it."
        )
    if document.get("kind") != kind:
        raise InputError(
            f"{path} holds a {document.get('kind')}, not a {kind}. Load it with {document.get('kind')}.load."
        )
    return document["architecture"], tensors


__all__ = ["read_network", "write_network"]

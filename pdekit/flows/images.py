"""Images to try flows on: digits that come with scikit-learn, MNIST and Omniglot where a user has them."""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdekit.errors import DataError, InputError

_IMAGES, _LABELS = 2051, 2049  # first numbers of IDX files
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images in a row.

    Attributes:
        name: What they are.
        images: float32 (n, pixels) in [0, 1].
        labels: int64 (n,), or None.
        shape: Height and width.
        test: Those that papers test with, or None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    shape: tuple[int, int]
    test: "Images | None" = None

    def __repr__(self) -> str:
        told = "" if self.test is None else f", and {len(self.test.images):,} to test with"
        return f"Images({self.name}: {len(self.images):,} of {self.shape[0]} x {self.shape[1]} pixels{told})"


def check_shape(shape: Any) -> tuple[int, int]:
    """The height and the width of images.

    Raises:
        InputError: If they are not two whole numbers.
    """
    if isinstance(shape, tuple | list) and len(shape) == 2 and all(type(n) is int and n >= 1 for n in shape):
        return (shape[0], shape[1])
    raise InputError(f"shape must be the height and the width of images such as (28, 28), got {shape!r}.")


def digits() -> Images:
    """1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn.

    Example:
        >>> digits()
        Images(digits: 1,797 of 8 x 8 pixels)
    """
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return Images("digits", (found.data / 16).astype(np.float32), found.target.astype(np.int64), (8, 8))


def mnist(folder: Any, *, download: bool = False) -> Images:
    """70,000 handwritten digits of 28 x 28 pixels, 60,000 to train and 10,000 to test with.

    Args:
        folder: Holds the four IDX files, `train-images-idx3-ubyte` and so on, as they are or with `.gz`.
        download: If they aren't there, fetch the set from OpenML into the folder, by scikit-learn.

    Raises:
        DataError: If the files are missing, or are no such files, or can't be fetched.
    """
    folder = Path(folder)
    if all(_path(folder, name) for pair in _FILES.values() for name in pair):
        parts = {}
        for part, (images, labels) in _FILES.items():
            x, y = _idx(_path(folder, images), _IMAGES), _idx(_path(folder, labels), _LABELS)
            if len(x) != len(y):
                raise DataError(f"{folder}: {len(x)} images of {part}, {len(y)} labels.")
            parts[part] = _images("MNIST", x, y)
        return Images("MNIST", parts["train"].images, parts["train"].labels, parts["train"].shape, parts["test"])
    if not download:
        raise DataError(
            f"MNIST is not in {folder}: put {', '.join(n for pair in _FILES.values() for n in pair)} there, with or "
            "without .gz, or give download=True to fetch it from OpenML."
        )
    from sklearn.datasets import fetch_openml

    try:
        found: Any = fetch_openml("mnist_784", version=1, data_home=folder, as_frame=False)
    except (OSError, ValueError) as error:
        raise DataError(f"MNIST is not in {folder}, and OpenML gave none: {error}") from error
    x, y = found.data.reshape(-1, 28, 28).astype(np.uint8), found.target.astype(np.int64)
    test = _images("MNIST", x[60_000:], y[60_000:])
    return Images("MNIST", _images("", x[:60_000], None).images, y[:60_000], (28, 28), test)


def omniglot(folder: Any) -> Images:
    """32,415 characters of 28 x 28 pixels, 24,345 to train and 8,070 to test with: the split that papers report.

    Args:
        folder: Holds `chardata.mat`, by Burda, Grosse and Salakhutdinov (Importance weighted autoencoders, ICLR 2016,
            arXiv 1509.00519).

    Raises:
        DataError: If the file is missing, or is no such file.
    """
    path = Path(folder) / "chardata.mat"
    if not path.is_file():
        raise DataError(
            f"Omniglot is not in {folder}: put chardata.mat there, the set of 28 x 28 pixels that Burda, Grosse and "
            "Salakhutdinov published with their importance weighted autoencoders. OpenML has no copy of it."
        )
    from scipy.io import loadmat

    try:
        found = loadmat(path)
        # Columns are images, each by columns.
        train, test = (
            np.asarray(found[key], dtype=np.float32).reshape(28, 28, -1).transpose(2, 1, 0)
            for key in ("data", "testdata")
        )
    except Exception as error:  # SciPy's readers raise errors of many kinds, some of their own
        raise DataError(f"{path} does not hold 28 x 28 images `data` and `testdata`: {error}") from error
    made = [np.ascontiguousarray(part.reshape(len(part), -1)).clip(0.0, 1.0) for part in (train, test)]
    return Images("Omniglot", made[0], None, (28, 28), Images("Omniglot", made[1], None, (28, 28)))


def _images(name: str, x: np.ndarray, y: np.ndarray | None) -> Images:
    labels = None if y is None else y.astype(np.int64)
    return Images(name, x.reshape(len(x), -1).astype(np.float32) / 255, labels, (x.shape[1], x.shape[2]))


def _path(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _idx(path: Path | None, kind: int) -> np.ndarray:
    """The array of an IDX file: four bytes of its kind, its lengths, then bytes."""
    if path is None:
        raise DataError("A file is missing.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (found,) = struct.unpack(">I", data[:4])
        dims = found & 0xFF
        lengths = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
        if found != kind:
            raise ValueError(f"begins with {found}, not with {kind}")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(lengths)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{path} is no IDX file of {'images' if kind == _IMAGES else 'labels'}: {error}.") from error


__all__ = ["Images", "digits", "mnist", "omniglot"]

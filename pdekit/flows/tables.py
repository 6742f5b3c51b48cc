"""The five tables that densities are compared on, from the files that G. Papamakarios published for MAF."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdekit.errors import DataError, InputError

_SHARE = 0.1  # of the rows to test with, and of the rest to choose by
_SEED = 42  # the shuffle that the papers' split of POWER comes from
_ALIKE = 0.98  # correlated more than this: one of two columns goes
_REPEATS = 5  # a least value that comes more often marks a column that is no density
_ARCHIVE = "doi 10.5281/zenodo.1161203"


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Rows in three parts, scaled as in the papers.

    Columns have mean 0 and variance 1 over what is not tested with (POWER, MINIBOONE, HEPMASS) or over all rows (GAS);
    BSDS300 comes scaled.

    Attributes:
        name: Which.
        train: float32 (n, d).
        validation: To choose by.
        test: To judge by.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(part):,}" for part in (self.train, self.validation, self.test))
        return f"Table({self.name}: {counts} rows to train, choose and judge by, {self.train.shape[1]} columns)"


def tabular(name: str, folder: Any) -> Table:
    """A table as the papers on normalising flows use it.

    Args:
        name: One of `TABLES`.
        folder: The unpacked archive: `power/data.npy`, `hepmass/1000_train.csv`, `miniboone/data.npy`,
            `BSDS300/BSDS300.hdf5`, and `gas/ethylene_CO.parquet`, written with pandas from the archive's pickle, which
            is not opened here. Or the same with a folder for each table that holds `train.npy`, `validation.npy` and
            `test.npy`, which are taken as they are.

    Raises:
        InputError: If there is no such table.
        DataError: If its files are missing, or hold something else.

    Source: G. Papamakarios, T. Pavlakou and I. Murray, Masked autoregressive flow for density estimation, NeurIPS 2017,
    arXiv 1705.07057, appendix D.
    """
    name = name.lower() if isinstance(name, str) else name
    if name not in TABLES:
        raise InputError(f"name must be one of {', '.join(TABLES)}, got {name!r}.")
    where, make = _READERS[name]
    parts = [Path(folder) / where.parent / f"{part}.npy" for part in ("train", "validation", "test")]
    if all(path.is_file() for path in parts):
        made = [_loaded(path) for path in parts]
    else:
        path = Path(folder) / where
        if not path.is_file():
            raise DataError(
                f"{name} is not in {folder}: neither {where} nor {where.parent}/train.npy, validation.npy and "
                f"test.npy. The papers' archive is {_ARCHIVE}."
            )
        made = make(path)
    for part in made:
        if part.ndim != 2 or not len(part) or part.dtype.kind not in "fiu" or not np.isfinite(part).all():
            raise DataError(f"{name}: expected finite numbers (n, d), got an array {part.shape}.")
    if len({part.shape[1] for part in made}) > 1:
        raise DataError(f"{name}: its parts have {', '.join(str(p.shape[1]) for p in made)} columns.")
    train, validation, test = (np.ascontiguousarray(part, dtype=np.float32) for part in made)
    return Table(name, train, validation, test)


def _power(path: Path) -> list[np.ndarray]:
    """Household power: noise within the meters' digits makes it a density."""
    rng = np.random.RandomState(_SEED)
    data = _loaded(path)
    rng.shuffle(data)
    data = np.delete(data, [1, 3], axis=1)
    n = len(data)
    if data.shape[1] != 6:
        raise DataError(f"{path}: expected 8 columns, got {data.shape[1] + 2}.")
    voltage, gap, meters = 0.01 * rng.rand(n, 1), 0.001 * rng.rand(n, 1), rng.rand(n, 3)
    return _standard(data + np.hstack([gap, voltage, meters, np.zeros((n, 1))]))


def _gas(path: Path) -> list[np.ndarray]:
    import pandas as pd

    frame = pd.read_parquet(path).drop(columns=["Meth", "Eth", "Time"], errors="ignore")
    data = frame.to_numpy(np.float64)
    while (worst := (np.corrcoef(data.T) > _ALIKE).sum(1)).max() > 1:
        data = np.delete(data, int(np.flatnonzero(worst > 1)[0]), axis=1)
    return _parted((data - data.mean(0)) / data.std(0))


def _hepmass(path: Path) -> list[np.ndarray]:
    import pandas as pd

    test_path = path.with_name("1000_test.csv")
    if not test_path.is_file():
        raise DataError(f"hepmass: {test_path} is missing.")
    parts = []
    for which in (path, test_path):
        frame = pd.read_csv(which, index_col=False)
        signal = frame[frame.iloc[:, 0] == 1].iloc[:, 1:]
        parts.append(signal.to_numpy(np.float64))
    train, test = parts
    train, test = (part[:, : min(train.shape[1], test.shape[1])] for part in (train, test))
    mean, spread = train.mean(0), train.std(0)
    train, test = (train - mean) / spread, (test - mean) / spread
    # How often the least value comes: that is what decided which columns the papers kept.
    keep = [k for k in range(train.shape[1]) if np.count_nonzero(train[:, k] == train[:, k].min()) <= _REPEATS]
    train, test = train[:, keep], test[:, keep]
    count = int(_SHARE * len(train))
    return [train[:-count], train[-count:], test]


def _miniboone(path: Path) -> list[np.ndarray]:
    return _standard(_loaded(path))


def _bsds(path: Path) -> list[np.ndarray]:
    try:
        import h5py  # pyright: ignore[reportMissingImports] - wanted for this file alone
    except ImportError as cause:
        raise DataError(f"{path} needs h5py: pip install h5py; or write its parts to npy files.") from cause
    with h5py.File(path, "r") as file:
        return [np.asarray(file[part]) for part in ("train", "validation", "test")]


def _parted(data: np.ndarray) -> list[np.ndarray]:
    test = int(_SHARE * len(data))
    rest = len(data) - test
    validation = int(_SHARE * rest)
    return [data[: rest - validation], data[rest - validation : rest], data[rest:]]


def _standard(data: np.ndarray) -> list[np.ndarray]:
    train, validation, test = _parted(data)
    seen = np.vstack([train, validation])
    mean, spread = seen.mean(0), seen.std(0)
    return [(part - mean) / spread for part in (train, validation, test)]


def _loaded(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as an array: {error}.") from error


_READERS: dict[str, tuple[Path, Callable[[Path], list[np.ndarray]]]] = {
    "power": (Path("power/data.npy"), _power),
    "gas": (Path("gas/ethylene_CO.parquet"), _gas),
    "hepmass": (Path("hepmass/1000_train.csv"), _hepmass),
    "miniboone": (Path("miniboone/data.npy"), _miniboone),
    "bsds300": (Path("BSDS300/BSDS300.hdf5"), _bsds),
}
TABLES = tuple(_READERS)

__all__ = ["TABLES", "Table", "tabular"]

"""Tables from files as they are published, made up here."""

import numpy as np
import pandas as pd
import pytest

from pdekit.errors import DataError, InputError
from pdekit.flows import TABLES, tabular

RNG = np.random.default_rng(0)


def put(folder, name):
    """Files of one table, a thousand rows."""
    if name == "power":
        (folder / "power").mkdir()
        np.save(folder / "power/data.npy", RNG.normal(3, 2, (1000, 8)))
        return 6
    if name == "miniboone":
        (folder / "miniboone").mkdir()
        np.save(folder / "miniboone/data.npy", RNG.normal(3, 2, (1000, 5)))
        return 5
    if name == "gas":
        (folder / "gas").mkdir()
        frame = pd.DataFrame(RNG.normal(3, 2, (1000, 6)), columns=["Time", "Meth", "Eth", "a", "b", "c"])
        frame["copy of a"] = 2 * frame["a"] + 0.01 * RNG.normal(size=1000)
        frame.to_parquet(folder / "gas/ethylene_CO.parquet")
        return 3
    if name == "hepmass":
        (folder / "hepmass").mkdir()
        for part in ("train", "test"):
            frame = pd.DataFrame(RNG.normal(3, 2, (1000, 4)), columns=list("abcd"))
            frame.insert(0, "label", RNG.integers(0, 2, 1000))
            frame["d"] = frame["d"].clip(lower=2)  # no density: its least value comes often
            frame.to_csv(folder / f"hepmass/1000_{part}.csv", index=False)
        return 3
    h5py = pytest.importorskip("h5py", reason="BSDS300 is an HDF5 file, and h5py is no dependency")
    (folder / "BSDS300").mkdir()
    with h5py.File(folder / "BSDS300/BSDS300.hdf5", "w") as file:
        for part in ("train", "validation", "test"):
            file[part] = RNG.normal(0, 1, (300, 7))
    return 7


@pytest.mark.parametrize("name", TABLES)
def test_each_is_read_and_standardised(tmp_path, name):
    columns = put(tmp_path, name)
    table = tabular(name, tmp_path)
    assert table.train.shape[1] == table.validation.shape[1] == table.test.shape[1] == columns
    assert table.train.dtype == np.float32
    assert float(np.abs(table.train.mean(0)).max()) < 0.3
    np.testing.assert_allclose(table.train.std(0), 1, atol=0.2)
    if name in ("power", "miniboone", "gas"):
        assert (len(table.train), len(table.validation), len(table.test)) == (810, 90, 100)
    assert f"{columns} columns" in repr(table)


def test_parts_are_taken_as_they_are(tmp_path):
    (tmp_path / "gas").mkdir()
    for n, part in enumerate(("train", "validation", "test"), 5):
        np.save(tmp_path / f"gas/{part}.npy", np.full((n, 3), float(n)))
    table = tabular("gas", tmp_path)
    assert [len(p) for p in (table.train, table.validation, table.test)] == [5, 6, 7]
    assert table.test[0, 0] == 7


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(InputError, match="power, gas"):
        tabular("iris", tmp_path)
    with pytest.raises(DataError, match=r"miniboone is not in .*data\.npy.*zenodo"):
        tabular("miniboone", tmp_path)
    (tmp_path / "miniboone").mkdir()
    (tmp_path / "miniboone/data.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="can't be read"):
        tabular("miniboone", tmp_path)
    np.save(tmp_path / "miniboone/data.npy", np.full((100, 3), np.nan))
    with pytest.raises(DataError, match="finite"):
        tabular("miniboone", tmp_path)

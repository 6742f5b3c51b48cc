"""Data files of every format."""

import numpy as np
import pytest

from pdekit.cli.reading import read_series
from pdekit.errors import DataError, InputError

T, X = [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 1.5, 3.0]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".parquet", ".npz"])
def test_formats_agree(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    if suffix == ".parquet":
        import pandas as pd

        pd.DataFrame({"t": T, "x": X}).to_parquet(path)
    elif suffix == ".npz":
        np.savez(path, t=T, x=X)
    else:
        mark = "," if suffix == ".csv" else "\t"
        path.write_text("\n".join(f"{a}{mark}{b}" for a, b in [("t", "x"), *zip(T, X, strict=True)]))
    data = read_series(str(path), {"time": "t", "columns": ("x",), "id": None, "log": (), "sort": False})
    assert data.times[0].tolist() == T
    assert data.values[0][:, 0].tolist() == X


def test_arrays_of_other_names(tmp_path):
    np.savez(tmp_path / "a.npz", when=T, what=X)
    data = read_series(str(tmp_path / "a.npz"), {"time": "when", "columns": ("what",)})
    assert data.n_observations == 4
    with pytest.raises(InputError, match="names the one array"):
        read_series(str(tmp_path / "a.npz"), {"columns": ("a", "b")})


def test_no_reverse_time_is_an_answer(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("age_BP,x\n" + "".join(f"{t},{x}\n" for t, x in zip(T, X, strict=True)))
    with pytest.raises(DataError, match="--no-reverse-time"):
        read_series(str(path), {"reverse_time": None})
    assert read_series(str(path), {"reverse_time": False}).times[0].tolist() == T
    assert read_series(str(path), {"reverse_time": True}).times[0].tolist() == [-3.0, -2.0, -1.0, 0.0]

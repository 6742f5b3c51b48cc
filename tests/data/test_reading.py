import os

import numpy as np
import pandas as pd
import pytest

from pdekit.data.reading import read_csv, read_frame, read_parquet
from pdekit.errors import DataError, InputError


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ("t,x\n0,1\n1,2\n", "commas"),
        ("t;x\n0;1\n1;2\n", "semicolons"),
        ("t\tx\r\n0\t1\r\n1\t2\r\n", "tabs"),
        ("t|x\n0|1\n1|2", "bars"),
        ("  t   x\n  0   1\n  1   2\n", "spaces"),
        ("\ufefft,x\n0,1\n1,2\n", "UTF-8"),
        ('"t","x",\n"0", "1",\n 1 , 2 ,\n', "commas"),
        ("t,x\r0,1\r1,2\r", "commas"),
        ("t,x\n0,1\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_delimiters_quotes_encodings_and_line_ends(write, content, how):
    table = read_csv(write(content))
    assert list(table.columns) == ["t", "x"]
    assert table.column("t").tolist() == ["0", "1"]
    assert table.column("x").tolist() == ["1", "2"]
    assert how in table.notes[0]


def test_comment_and_blank_lines_are_passed_over_and_lines_numbered_as_in_the_file(write):
    table = read_csv(write("# made by\n#\n\nt,x\n0,1\n   # a remark\n\n1,2\n"))
    assert table.rows.tolist() == [5, 8]
    assert table.where(1) == "file.csv, line 8"
    assert table.row_list([0, 1]) == "lines 5, 8"


def test_a_single_column_with_a_title_of_several_words(write):
    assert read_csv(write("rate of interest\n1\n2\n")).column("rate of interest").tolist() == ["1", "2"]


def test_latin_1_is_the_fall_back(write):
    table = read_csv(write("t,Größe\n0,1\n".encode("latin-1")))
    assert list(table.columns) == ["t", "Größe"]
    assert "Latin-1" in table.notes[0]


def test_unnamed_first_column_as_pandas_writes_it(write):
    assert list(read_csv(write(",t,x\n0,0,1\n")).columns) == ["unnamed 1", "t", "x"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\n \n", ["empty"]),
        ("# only a comment\n", ["comment lines only"]),
        ("t,x\n0,1\n1\n", ["line 3", "1 cell where the header has 2"]),
        ("t,x\n0,1\n1,2,3\n", ["line 3", "3 cells"]),
        ("t,x,x\n0,1,2\n", ["line 1", "'x'", "more than once"]),
        ("0.0,1.5\n0.1,1.7\n", ["line 1", "header"]),
        ("# t x\n2020-01-01,1.5\n2020-01-02,1.7\n", ["line 2", "header", "not as a comment"]),
        (bytes(range(256)) * 8, ["not a text file"]),
        (b"PK\x03\x04rest", ["Excel"]),
        (b"PAR1rest", ["from_parquet"]),
        (b"\x1f\x8brest", ["gzip"]),
        ('t,x\n0,"' + "1" * 200_000 + '"\n', ["line 2", "not well-formed"]),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(write, content, words):
    with pytest.raises(DataError) as caught:
        read_csv(write(content))
    for word in ["file.csv", *words]:
        assert word in str(caught.value)


def test_missing_file_folder_and_permission(tmp_path, write):
    with pytest.raises(DataError, match=r"There is no file .*nowhere.*folder .* does not exist"):
        read_csv(tmp_path / "nowhere" / "data.csv")
    with pytest.raises(DataError, match=r"There is no file .*data.csv'\. Check"):
        read_csv(tmp_path / "data.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_csv(tmp_path)
    with pytest.raises(DataError, match="could not be read"):
        read_csv("a\0b.csv")
    path = write("t,x\n0,1\n")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # the superuser may read anything
        with pytest.raises(DataError, match="permission denied"):
            read_csv(path)


def test_a_delimiter_is_one_character(write):
    path = write("t:x\n0:1\n")
    assert list(read_csv(path, ":").columns) == ["t", "x"]
    with pytest.raises(InputError, match="delimiter must be one character"):
        read_csv(path, "::")


def test_frame_columns_become_one_of_four_kinds():
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "n": pd.array([1, None], dtype="Int64"),
            "s": ["a ", None],
            "d": pd.to_datetime(["2020-01-01", None]),
            "z": pd.to_datetime(["2020-01-01T01:00+01:00", "2020-01-02T01:00+01:00"]),
            "p": pd.PeriodIndex(["2020Q1", "2020Q2"], freq="Q"),
            "delta": pd.to_timedelta(["1 day", "2 days"]),
            "b": [True, False],
            "c": pd.Categorical(["u", "v"]),
        }
    )
    table = read_frame(frame)
    assert {name: table.column(name).dtype.kind for name in table.columns} == {
        "i": "f", "n": "f", "s": "O", "d": "M", "z": "M", "p": "M", "delta": "m", "b": "O", "c": "O",
    }  # fmt: skip
    assert np.isnan(table.column("n")[1])
    assert table.column("s").tolist() == ["a", ""]
    assert str(table.column("z")[0]) == "2020-01-01T00:00:00.000000"
    assert str(table.column("p")[1])[:10] == "2020-04-01"
    with pytest.raises(DataError, match="more than once"):
        read_frame(pd.DataFrame([[1, 2]], columns=["x", "x"]))


def test_parquet_and_what_is_not(tmp_path, write):
    path = tmp_path / "data.parquet"
    pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index([0.0, 0.5], name="t")).to_parquet(path)
    assert read_parquet(path).column("t").tolist() == [0.0, 0.5]
    with pytest.raises(DataError, match=r"not a Parquet file.*from_csv"):
        read_parquet(write("t,x\n0,1\n"))
    with pytest.raises(DataError, match="could not be read as Parquet"):
        read_parquet(write(path.read_bytes()[:-20], "cut.parquet"))

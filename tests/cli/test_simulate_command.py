"""`pdekit simulate`: futures of a fit, paths of a catalogue model, and the files of both."""

import json

import numpy as np
import pytest

from pdekit.data import Trajectories

OU = ("--model", "ou", "--set", "theta=1,mu=2,sigma=0.3", "--x0", 0)


def test_quantiles_of_a_model_follow_its_law(cli):
    outcome = cli("simulate", *OU, "--horizon", 1, "--step", 0.5, "--paths", 4000, "--seed", 1, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["times"] == [0.0, 0.5, 1.0]
    spread = 0.3 * np.sqrt((1 - np.exp(-2.0)) / 2)
    # A sample quantile of 4000 has a standard error of at most 2.1 spread / sqrt(4000) at 5 %; five of them allowed.
    for level, normal in (("0.05", -1.6449), ("0.5", 0.0), ("0.95", 1.6449)):
        expected = 2 - 2 * np.exp(-1.0) + normal * spread
        assert document["quantiles"]["x"][level][-1] == pytest.approx(expected, abs=5 * 2.1 * spread / np.sqrt(4000))


def test_defaults_of_the_catalogue_and_a_table(cli):
    outcome = cli("simulate", "--model", "hopf", "--x0", "1,0", "--horizon", 1, "--paths", 5, "--dt", 0.05)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Quantiles of x, 5 simulated paths" in outcome.out
    assert "Quantiles of y" in outcome.out
    assert outcome.out.count("\n0.5 ") == 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_files_read_back_as_data(cli, tmp_path, suffix):
    path = tmp_path / f"paths{suffix}"
    outcome = cli("simulate", *OU, "--horizon", 2, "--step", 0.5, "--paths", 3, "--dt", 0.1, "--out", path)
    assert outcome.code == 0
    assert f"Wrote {path}." in outcome.out
    if suffix == ".npz":
        data = Trajectories.from_npz(path)
    else:
        read = Trajectories.from_csv if suffix == ".csv" else Trajectories.from_parquet
        data = read(path, time="time", id="path", columns=["x"])
    assert (data.n_paths, data.n_observations) == (3, 15)
    assert data.times[0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_the_same_seed_gives_the_same_file(cli, tmp_path):
    for name, seed in (("a.csv", 7), ("b.csv", 7), ("c.csv", 8)):
        assert cli("simulate", *OU, "--horizon", 1, "--dt", 0.1, "--paths", 2, "--seed", seed, "--out", name).code == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b != c


def test_a_file_is_whole_or_not_at_all(cli, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("kept")

    def interrupted(run, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pdekit.cli.simulate_command.write_paths", interrupted)
    outcome = cli("simulate", *OU, "--horizon", 1, "--dt", 0.1, "--paths", 2, "--out", "a.csv", "--overwrite")
    assert outcome.code == 130
    assert outcome.line.startswith("pdekit: interrupted")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.csv", "kept")]


def test_a_fit_goes_on_from_its_last_observation(cli, saved_fit, tmp_path):
    last = np.loadtxt(saved_fit.parent / "series.csv", delimiter=",", skiprows=1)[-1]
    outcome = cli(
        "simulate", saved_fit, "--paths", 20, "--horizon", 1, "--json", "--out", "f.npz", "--plot", "f.svg", "--seed", 2
    )
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    assert document["quantiles"]["x"]["0.5"][0] == pytest.approx(last[1])
    assert (document["times"][0], document["times"][-1]) == pytest.approx((30.0, 31.0))
    assert (document["seed"], document["paths"]) == (2, 20)
    assert np.load(tmp_path / "f.npz")["x"].shape == (11, 20, 1)
    assert (tmp_path / "f.svg").read_text().lstrip().startswith("<?xml")


def test_a_fit_prints_a_table_of_times(cli, saved_fit):
    outcome = cli("simulate", saved_fit, "--paths", 10, "--horizon", 2)
    assert outcome.code == 0
    assert "Quantiles of x, 10 simulated paths" in outcome.out
    assert "time (time units)" in outcome.out
    assert cli("simulate", saved_fit, "--paths", 10, "--horizon", 2, "-q").out == ""

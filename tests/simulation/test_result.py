import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pdekit.errors import DataError, InputError
from pdekit.sde import SDE
from pdekit.simulation import Simulation, simulate


@pytest.fixture(scope="module")
def run():
    sde = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 0.5), dim=2, separable=True, names=("u", "v"))
    return simulate(sde, [1.0, -1.0], [0.0, 0.5, 1.0], paths=4, dt=0.1, seed=9)


def test_repr_says_what_was_done(run):
    text = repr(run)
    for part in ("4 paths of u, v", "3 times from 0 to 1", "StrongOrder15()", "dt=0.1", "seed=9", "success"):
        assert part in text


def test_dataframe_is_long(run):
    table = run.to_dataframe()
    assert list(table.columns) == ["path", "time", "u", "v"]
    assert len(table) == 12
    row = table[(table["path"] == 2) & (table["time"] == 0.5)].iloc[0]
    assert (row["u"], row["v"]) == tuple(run.values[1, 2].tolist())


def test_round_trip(run, tmp_path):
    run.save(tmp_path / "paths.safetensors")
    back = Simulation.load(tmp_path / "paths.safetensors")
    assert repr(back) == repr(run)
    for name in ("times", "values", "touched"):
        assert torch.equal(getattr(back, name), getattr(run, name))
    assert [f.name for f in tmp_path.iterdir()] == ["paths.safetensors"]


def test_saving_detaches(run, tmp_path):
    recorded = replace(run, values=run.values.clone().requires_grad_())
    recorded.save(tmp_path / "paths.safetensors")
    assert not Simulation.load(tmp_path / "paths.safetensors").values.requires_grad


def test_files_that_are_not_simulations_are_refused(run, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="No such file"):
        Simulation.load(path)
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(DataError, match="not a saved simulation"):
        Simulation.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="no pdekit-simulation entry"):
        Simulation.load(path)
    save_file(
        {"a": torch.zeros(1)}, path, {"simulation": json.dumps({"format": "pdekit-simulation", "version": "2.0"})}
    )
    with pytest.raises(DataError, match=r"version 2\.0; this pdekit reads 1\.0"):
        Simulation.load(path)
    save_file(
        {"a": torch.zeros(1)}, path, {"simulation": json.dumps({"format": "pdekit-simulation", "version": "1.0"})}
    )
    with pytest.raises(DataError, match="incomplete"):
        Simulation.load(path)


def test_a_failed_save_leaves_nothing_behind(run, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        run.save(tmp_path / "folder")
    with pytest.raises(InputError, match="missing"):
        run.save(tmp_path / "missing" / "paths.safetensors")
    assert [f.name for f in tmp_path.iterdir()] == ["folder"]


def test_plot_has_a_panel_per_state(run, tmp_path):
    figure = run.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["u", "v"]
    figure.savefig(tmp_path / "fan.png")
    assert (tmp_path / "fan.png").stat().st_size > 1000

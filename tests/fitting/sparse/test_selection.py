import json
from typing import Any

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.errors import ConvergenceError, DataError, ExpressionError, InputError
from pdekit.fitting.estimation import fit
from pdekit.fitting.sparse import Library, SparseSDE, SparseSearch, search
from pdekit.fitting.sparse.names import state_names
from pdekit.symbolic import SymbolicSDE


def names(found):
    return [candidate.name for candidate in found.kept]


@pytest.fixture(scope="module")
def walk():
    rng = np.random.default_rng(0)
    return 0.1 * np.cumsum(rng.standard_normal((3000, 2)), axis=0)


def test_double_well(double_well):
    data = double_well(seed=1)
    found = search(SparseSDE(), data)
    assert (found.regime, found.settled) == ("fine", True)
    assert "short" in found.reason
    assert names(found) == ["f_x", "f_x3", "s**2"]
    assert found.model == SymbolicSDE("x", "f_x*x + f_x3*x**3", "s", {"f_x": None, "f_x3": None, "s": (0, None)})
    fitted = fit(found.model, data, method=found.method, start=found.start)
    for candidate in found.kept[:2]:
        exact = fitted.params[candidate.name]
        assert exact.stderr is not None
        # Means and covariances of steps are not all that the exact density uses.
        assert candidate.estimate == pytest.approx(exact.estimate, abs=0.4 * exact.stderr)
        assert candidate.stderr == pytest.approx(exact.stderr, rel=0.05)
    assert fitted.params["s"].estimate == pytest.approx(found.start["s"], rel=1e-3)


def test_coarse_steps_are_selected_on_the_fokker_planck_likelihood(double_well):
    data = double_well(n=3000, dt=0.5, substeps=50, seed=1)
    library = Library.polynomial(4)
    found = search(SparseSDE(drift=library, diffusion=Library.polynomial(1)), data)
    assert found.regime == "coarse"
    assert "Fokker-Planck" in found.reason
    assert names(found) == ["f_x", "f_x3", "s**2"]
    fitted = fit(found.model, data, start=found.start)
    for name, value in found.start.items():
        assert value == pytest.approx(fitted.params[name].estimate, rel=1e-3)


def test_noise_that_vanishes_at_an_observation_is_started_from_a_constant(double_well, monkeypatch):
    """What happens in one coarse record of twenty-five, whenever a residual is nearly zero where candidates may be."""

    def degenerate(self, fine):
        raise np.linalg.LinAlgError

    monkeypatch.setattr("pdekit.fitting.sparse.selection._Run._at_fine_steps", degenerate)
    data = double_well(n=3000, dt=0.5, substeps=50, seed=1)
    found = search(SparseSDE(drift=Library.polynomial(4), diffusion=Library.polynomial(2)), data)
    assert names(found) == ["f_x", "f_x3", "s**2"]
    with pytest.raises(ConvergenceError, match="vanishes"):
        search(SparseSDE(drift=Library.polynomial(4), diffusion=Library.of("x**2")), data)


def test_square_root_noise_gets_its_domain(square_root):
    data = square_root(seed=3)
    found = search(SparseSDE(drift=Library.polynomial(3)), data)
    assert names(found) == ["f_1", "f_x", "s**2"]
    assert found.model.domain == ((0.0, np.inf),)
    assert str(found.model.diffusion[0]) == "s*sqrt(x)"
    # 3 (.3 - x) within five standard errors.
    assert found.start["f_x"] == pytest.approx(-3.0, abs=5 * 0.15)


def test_lorenz(simulated):
    def drift(x):
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    data = simulated(drift, lambda x: 1.0, [1.0, 1.0, 25.0], 2000, 0.01, seed=4, substeps=20, burn=200)
    found = search(SparseSDE(), data)
    terms = {c.name for c in found.kept if c.part == "drift"}
    assert terms == {"f_x__x", "f_x__y", "f_y__x", "f_y__y", "f_y__x_z", "f_z__z", "f_z__x_y"}
    truth = {"f_x__x": -10, "f_x__y": 10, "f_y__x": 28, "f_y__x_z": -1, "f_z__z": -8 / 3, "f_z__x_y": 1}
    for c in found.kept:
        if c.name in truth:
            assert abs(c.estimate - truth[c.name]) < 5 * c.stderr
    assert all(c.estimate == pytest.approx(1.0, rel=0.2) for c in found.kept if c.part == "squared noise")


def test_noise_that_depends_on_other_states_and_correlated_noise(simulated):
    data = simulated(
        lambda x: np.array([-x[0] + x[1], -x[1]]),
        lambda x: np.array([0.3, 0.2 * np.sqrt(1 + 4 * x[0] ** 2)]),
        [0.0, 0.0],
        8000,
        0.05,
        seed=5,
    )
    found = search(SparseSDE(drift=Library.polynomial(1)), data)
    assert names(found) == ["f_x__x", "f_x__y", "f_y__y", "s_x**2", "g2_y__1", "g2_y__x2"]
    assert found.model.params["g2_y__1"] == (0.0, np.inf)
    full = search(SparseSDE(drift=Library.polynomial(1), noise="full"), data)
    assert full.model.param_names[-3:] == ("s_x", "s_y_x", "s_y")
    assert full.start["s_x"] == pytest.approx(0.3, rel=0.05)


def test_a_walk_has_no_drift_and_constant_noise(walk):
    data = Trajectories.from_arrays(None, walk[:, 0], fixed_dt=0.01)
    found = search(SparseSDE(), data)
    assert names(found) == ["s**2"]
    assert found.start["s"] == pytest.approx(1.0, rel=0.05)
    # A superfluous term costs more than it gains.
    assert all(candidate.change < 0 for candidate in found.candidates)
    assert any("optimistic" in note for note in found.notes)


def test_scale_and_time_unit_change_nothing_but_the_numbers(double_well):
    data = double_well(n=10_000, seed=6)
    x, dt = data.values[0].numpy(), 0.02
    first = search(SparseSDE(), data)
    nano = search(SparseSDE(), Trajectories.from_arrays(None, 1e-9 * x, fixed_dt=1e3 * dt, names=["x"]))
    assert names(nano) == names(first)
    assert nano.start["f_x3"] == pytest.approx(first.start["f_x3"] * 1e18 * 1e-3, rel=1e-6)


def test_the_maximum_is_found_in_any_unit(double_well):
    data = double_well(n=20_000, seed=6)
    x = data.values[0].numpy()
    plain, nano = (
        fit(SparseSDE(), Trajectories.from_arrays(None, unit * x, fixed_dt=0.02, names=["x"])) for unit in (1.0, 1e-9)
    )
    assert nano.estimate.converged
    for name, size in (("f_x", 1.0), ("f_x3", 1e18), ("s", 1e-9)):
        assert nano.params[name].estimate == pytest.approx(plain.params[name].estimate * size, rel=1e-5)


def test_gaps_and_paths_are_respected(double_well):
    data = double_well(n=6000, seed=2)
    t, x = data.times[0], data.values[0]
    keep = torch.ones(len(t), dtype=torch.bool)
    keep[::7] = False
    split = Trajectories((t[keep][:2500], t[keep][2500:]), (x[keep][:2500], x[keep][2500:]), ("a", "b"), ("x",), "s")
    assert names(search(SparseSDE(drift=Library.polynomial(3)), split)) == ["f_x", "f_x3", "s**2"]


def test_the_record(double_well):
    found = search(SparseSDE(drift=Library.polynomial(3)), double_well(n=4000), seed=7)
    again = SparseSearch.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    table = found.table(most=4)
    assert len(table.rows) == 4
    assert table.rows[0][6] == "kept"
    assert "more were dropped" in table.note
    drift = sorted((c for c in found.candidates if c.part == "drift"), key=lambda c: c.order)
    assert [c.kept for c in drift] == sorted((c.kept for c in drift), reverse=True)
    assert "f_x3 =" in repr(found)
    with pytest.raises(InputError, match="damaged"):
        SparseSearch.from_dict({"model": {}})


def test_progress_is_reported(walk):
    seen = []
    search(
        SparseSDE(),
        Trajectories.from_arrays(None, walk[:, 0], fixed_dt=0.01),
        progress=lambda what, value: seen.append(value),
    )
    assert len(seen) > 1
    assert np.isfinite(seen).all()


def test_terms_without_derivatives_are_served_by_euler_steps(walk):
    options = SparseSDE(drift=Library.of("1", "sign(log_rate)"))
    found = search(options, Trajectories.from_arrays(None, walk[:, 0], fixed_dt=0.01, names=["log rate"]))
    assert any("no derivative" in note for note in found.notes)
    assert any("'log rate' is called log_rate" in note for note in found.notes)


def test_terms_that_the_data_cannot_tell_apart_are_named(walk):
    options = SparseSDE(drift=Library.of("1", "sin(x)**2", "cos(x)**2"))
    found = search(options, Trajectories.from_arrays(None, walk[:, 0], fixed_dt=0.01))
    assert any("Left out of the drift library: cos(x)**2" in note for note in found.notes)


def test_names_of_columns_become_names_of_states():
    assert state_names(["x", "x y", "x-y", "9", "exp", "pi", "lambda"]) == (
        *("x", "x_y", "x_y_", "x_9", "exp_", "pi_", "lambda_"),
    )


def smooth(n=500):
    return np.sin(0.05 * np.arange(n))


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (None, "pastis", InputError, "must be a SparseSDE, got str"),
        (None, SparseSDE(drift=Library.of("log(x)")), DataError, r"log\(x\) of the drift library is not finite at x ="),
        (None, SparseSDE(diffusion=Library.of("x")), InputError, "squared noise of x is positive"),
        (None, SparseSDE(drift=Library.of("y")), ExpressionError, "unknown name 'y'"),
        (np.array([0.0, 1.0, 0.5, 0.7]), SparseSDE(), DataError, "3 transitions can't choose among 9 candidates"),
        (smooth(), SparseSDE(drift=Library.polynomial(1)), DataError, "x moves smoothly"),
        (np.exp(-0.01 * np.arange(300)), SparseSDE(drift=Library.polynomial(1)), DataError, "x have no noise"),
    ],
)
def test_what_is_refused(
    walk: np.ndarray, x: np.ndarray | None, options: Any, error: type[Exception], message: str
) -> None:
    data = Trajectories.from_arrays(None, walk[:, 0] if x is None else x, fixed_dt=0.01)
    with pytest.raises(error, match=message):
        search(options, data)


def test_states_that_move_as_one_are_refused_by_name(walk):
    x = np.column_stack([walk[:, 0], walk[:, 1], 2.0 * walk[:, 0]])
    data = Trajectories.from_arrays(None, x, fixed_dt=0.01, names=["a", "b", "c"])
    with pytest.raises(DataError, match="a and c move as one"):
        search(SparseSDE(), data)


def test_snapshots_are_refused():
    nothing: Any = []
    with pytest.raises(InputError, match="needs Trajectories, got list"):
        search(SparseSDE(), nothing)


def test_states_far_from_zero_are_refused_by_name(double_well):
    data = double_well(n=3000, seed=1)
    far = Trajectories.from_arrays(None, 30.0 + data.values[0].numpy(), fixed_dt=0.02, names=["level"])
    with pytest.raises(DataError, match="level lies far from zero"):
        search(SparseSDE(), far)
    found = search(SparseSDE(drift=Library.polynomial(1), diffusion=Library.polynomial(0)), far)
    assert found.kept

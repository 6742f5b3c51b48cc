"""SciPy's methods behind the same door, and what a solution can do."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import pdekit as pk
from pdekit.errors import DataError, InputError, NumericalError
from pdekit.ode import Kvaerno5, SciPy, Solution

F64 = torch.float64
Y0 = torch.tensor([[1.0, 0.0], [0.5, -0.5]], dtype=F64)


def oscillator(t, y):
    s = t.squeeze(-1) if y.ndim > 1 else t
    return torch.stack([y[..., 1], -(y[..., 0] ** 3) - 0.2 * y[..., 1] + torch.sin(s)], -1)


def rise(t, y):
    return torch.where(y > 2, torch.nan * y, torch.ones_like(y) + y)


@pytest.mark.parametrize("name", ["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"])
def test_scipy_gives_what_solve_ivp_gives(name):
    times = np.linspace(0, 2, 5)
    sol = pk.odeint(oscillator, Y0, times, method=SciPy(name), rtol=1e-6, atol=1e-8)
    for i in range(2):
        more = {}
        if name in ("Radau", "BDF", "LSODA"):
            more["jac"] = lambda t, y: np.array([[0, 1], [-3 * y[0] ** 2, -0.2]])
        direct = solve_ivp(
            lambda t, y: [y[1], -(y[0] ** 3) - 0.2 * y[1] + np.sin(t)],
            (0, 2),
            Y0[i].numpy(),
            method=name,
            t_eval=times,
            rtol=1e-6,
            atol=1e-8,
            **more,
        )
        # The same steps; rounding in f is amplified a little by their choice.
        assert sol.y[:, i].numpy() == pytest.approx(direct.y.T, rel=1e-9, abs=1e-11)
    assert (sol.counts.f > 0).all()
    assert sol.success


def test_scipy_integrates_single_precision_and_single_states():
    sol = pk.odeint(lambda t, y: -y, torch.ones(1), [0.0, 1.0], method=SciPy(), rtol=1e-5)
    assert sol.y.dtype == torch.float32
    assert float(sol.y[-1]) == pytest.approx(np.exp(-1), rel=1e-4)


@pytest.mark.parametrize("name", ["RK45", "Radau"])
def test_a_failure_of_scipy_is_one_of_ours(name):
    y0 = torch.tensor([[1.0], [0.1]], dtype=F64)
    with pytest.raises(NumericalError, match="Sample 0"):
        pk.odeint(lambda t, y: y**2, y0, [0.0, 0.5, 2.0], method=SciPy(name))
    sol = pk.odeint(lambda t, y: y**2, y0, [0.0, 0.5, 2.0], method=SciPy(name), raise_on_failure=False)
    assert list(sol.status != "success") == [True, False]
    assert float(sol.y[-1, 1]) == pytest.approx(1 / 8, rel=1e-4)
    assert bool(sol.y[-1, 0].isnan())


def test_a_field_that_scipy_finds_not_finite():
    with pytest.raises(NumericalError):
        pk.odeint(rise, torch.zeros(1, dtype=F64), [0.0, 3.0], method=SciPy("BDF"))


def test_a_failure_of_scipy_names_its_time():
    with pytest.raises(NumericalError, match=r"at t = (1|0\.99)"):
        pk.odeint(lambda t, y: y**2, torch.ones(1, dtype=F64), [0.0, 3.0], method=SciPy("RK45"))


def solved(**options):
    return pk.odeint(oscillator, Y0, [0.0, 0.5, 1.0], method=Kvaerno5(), **options)


def test_the_repr_says_what_happened():
    text = repr(solved())
    assert text.startswith("Solution(3 times, states (2, 2), Kvaerno5(")
    assert "status={'success': 2}" in text
    assert "accepted=" in text
    assert "Newton" in text


def test_a_solution_comes_back_from_its_file(tmp_path):
    sol = solved()
    sol.save(tmp_path / "s.safetensors")
    back = Solution.load(tmp_path / "s.safetensors")
    assert torch.equal(back.t, sol.t)
    assert torch.equal(back.y, sol.y)
    assert np.array_equal(back.status, sol.status)
    assert repr(back) == repr(sol)
    assert back.success
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_single_solution_with_gradients_comes_back(tmp_path):
    times = torch.tensor([0.0, 1.0], dtype=F64, requires_grad=True)
    sol = pk.odeint(lambda t, y: -y, torch.ones(1, dtype=F64), times)
    sol.save(tmp_path / "s")
    back = Solution.load(tmp_path / "s")
    assert back.status == "success"
    assert back.status.shape == ()
    assert torch.equal(back.y, sol.y.detach())


def test_a_failed_solution_is_no_success_when_it_comes_back(tmp_path):
    sol = pk.odeint(lambda t, y: y**2, torch.ones(1, dtype=F64), [0.0, 2.0], raise_on_failure=False)
    sol.save(tmp_path / "s")
    assert not sol.success
    assert not Solution.load(tmp_path / "s").success


def test_files_that_are_no_solutions(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(InputError, match="No such file"):
        Solution.load(tmp_path / "none")
    (tmp_path / "text").write_text("no solution")
    with pytest.raises(DataError, match="is not a saved solution"):
        Solution.load(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(DataError, match="no pdekit-solution entry"):
        Solution.load(tmp_path / "other")
    save_file({"x": torch.zeros(1)}, tmp_path / "new", {"solution": '{"format": "pdekit-solution", "version": "9.0"}'})
    with pytest.raises(DataError, match="newer pdekit"):
        Solution.load(tmp_path / "new")
    with pytest.raises(InputError, match="Can't write"):
        solved().save(tmp_path / "no" / "folder")


def test_states_between_times_need_the_dense_solution():
    with pytest.raises(InputError, match="dense=True"):
        solved().at(0.3)
    sol = solved(dense=True)
    assert sol.at([0.1, 0.2]).shape == (2, 2, 2)
    assert sol.at(torch.tensor(0.1)).shape == (1, 2, 2)
    with pytest.raises(InputError, match=r"was integrated from 0 to 1, got t = 1\.5"):
        sol.at([0.5, 1.5])


def test_the_plot_has_a_panel_for_each_component():
    figure = solved().plot()
    assert len(figure.axes) == 2
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert len(solved().plot(samples=1, components=1).axes) == 1

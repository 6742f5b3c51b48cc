"""SciPy's methods behind the same door, and what a solution can do."""

import time

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


def spread(**options):
    """Samples that take steps of their own."""
    y0 = torch.linspace(0.2, 3.0, 14, dtype=F64).reshape(7, 2)
    return pk.odeint(oscillator, y0, [0.0, 0.5, 2.0], dense=True, **options)


@pytest.mark.parametrize("backwards", [False, True])
def test_many_states_at_once_are_those_one_by_one(backwards):
    sol = spread() if not backwards else pk.odeint(oscillator, Y0, [1.0, -1.0], dense=True)
    ends = np.array([s.t[0] for s in sol.interpolant._segments])  # ends of steps, outputs and what lies between
    times = np.random.default_rng(0).permutation(
        np.concatenate([ends, sol.t.numpy(), float(sol.t[-1]) * np.linspace(0, 1)])
    )
    one_by_one = torch.cat([sol.at(t) for t in times])
    # The same numbers but for the order of sums of at most six powers.
    torch.testing.assert_close(sol.at(times), one_by_one, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(sol.at(sol.t)[[0, -1]], sol.y[[0, -1]], rtol=0, atol=0)


def test_twenty_thousand_states_take_no_time():
    sol, started = spread(), time.perf_counter()
    assert sol.at(np.linspace(0, 2, 20_000)).shape == (20_000, 7, 2)
    assert time.perf_counter() - started < 1  # 3 s for each of the seven samples, one by one


def test_each_sample_may_have_its_own_times_between():
    sol = spread()
    times = torch.rand(5, 7, dtype=F64, generator=torch.Generator().manual_seed(0))
    each = torch.stack([sol.at(times[:, i])[:, i] for i in range(7)], 1)
    torch.testing.assert_close(sol.at(times), each, rtol=1e-14, atol=1e-14)


def test_times_between_that_are_none():
    sol = spread()
    assert sol.at([]).shape == (0, 7, 2)
    for times in ("soon", None, ["a"], [0.1, np.nan], [[0.1, 0.2]], [1j], {}):
        with pytest.raises(InputError, match="times"):
            sol.at(times)
    none = pk.odeint(oscillator, Y0[:0], [0.0, 1.0], dense=True)
    assert none.at([0.5]).shape == (1, 0, 2)


def test_the_plot_shows_outputs_the_curve_between_and_what_happened():
    event = pk.ode.Event(lambda t, y: y[..., 0] - 0.5, terminal=True)
    y0 = torch.tensor([[1.0], [0.4]], dtype=F64)
    sol = pk.odeint(lambda t, y: -y, y0, [0.0, 0.5, 3.0], events=[event], dense=True)
    figure = sol.plot()
    (axes,) = figure.axes
    curve = axes.lines[0].get_xydata()
    assert len(curve) > 50
    assert curve[-1] == pytest.approx([np.log(2), 0.5], rel=1e-4)
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert texts == ["sample 0", "sample 1", "event 0"]
    assert axes.get_xlabel() == "t"
    failed = pk.odeint(lambda t, y: y**2, torch.ones(1, dtype=F64), [0.0, 0.5, 2.0], raise_on_failure=False)
    (legend,) = failed.plot().legends
    assert legend.get_texts()[0].get_text() == f"ends: {failed.status}"


def test_samples_and_components_of_a_plot_are_chosen_by_number():
    sol = spread()
    figure = sol.plot(samples=[6, 2], components=[1])
    assert [axes.get_ylabel() for axes in figure.axes] == ["y2"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sample 6", "sample 2"]
    assert len(sol.plot(components=np.int64(1)).axes) == 1
    for options in ({"components": [2]}, {"components": 0}, {"components": "y1"}, {"components": []}, {"samples": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            sol.plot(**options)
    for options in ({"samples": 2.5}, {"samples": [7]}, {"samples": [True]}, {"samples": None}):
        with pytest.raises(InputError, match="samples"):
            sol.plot(**options)


def test_paths_that_are_none(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (None, 3, "", tmp_path, tmp_path / "file" / "x", "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"path|Can't write"):
            solved().save(path)
    with pytest.raises(InputError, match=rf"no folder {tmp_path / 'no' / 'folder'}"):
        solved().save(tmp_path / "no" / "folder" / "s")
    for path in (None, "", tmp_path, tmp_path / "file" / "x"):
        with pytest.raises(InputError):
            Solution.load(path)

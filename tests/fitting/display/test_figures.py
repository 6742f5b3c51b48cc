"""Figures are made for every kind of fit, small enough for a page, and hold what they claim."""

import numpy as np
import pytest
import torch

from pdekit import Trajectories, fit, models, simulate
from pdekit.fitting.display.figures import overview, report_figures
from pdekit.fitting.display.panels import _bin_edges, thinned_line


def fitted(name, x0, times, **kept):
    model = models.get(name)
    path = simulate(model.at(**model.defaults), x0, times, seed=2)
    return fit(model, Trajectories.from_arrays(path.times, path.values[:, 0], **kept))


@pytest.fixture(scope="module")
def ou():
    return fitted("ou", 0.0, torch.arange(301.0) / 10, names="price in $", time_unit="day")


def texts(figure):
    return "\n".join(t.get_text() for axes in figure.axes for t in axes.findobj(lambda a: hasattr(a, "get_text")))


def test_overview_has_six_labeled_panels(ou):
    figure = overview(ou)
    assert len(figure.axes) == 6
    assert all(axes.get_ylabel() for axes in figure.axes)
    labels = texts(figure)
    for part in (r"price in \$", "per day", "per √day", "lag (days)", "time (days)", "biased at coarse dt"):
        assert part in labels
    figure.canvas.draw()  # mathtext would fail here on a dollar sign


def test_report_figures_of_one_state(ou):
    figures = report_figures(ou)
    assert [f.title for f in figures] == [
        "Observed series", "Drift", "Diffusion", "Stationary density", "Autocorrelation", "PIT residuals",
        "Residuals in time",
    ]  # fmt: skip
    assert all(f.caption.endswith(".") and ".." not in f.caption for f in figures)
    assert sum(len(f.svg) for f in figures) < 1_000_000


def test_dates_are_on_the_axis_where_the_data_have_them():
    data = Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
    found = fit(models.get("ou"), data)
    svg = report_figures(found)[0].svg
    assert "1980" in svg
    assert "time (years)" not in svg


def test_two_states_get_panels_each_and_a_phase_plane():
    found = fitted("hopf", [0.7, 0.0], torch.arange(801.0) / 40, names=["u", "v"])
    titles = [f.title for f in report_figures(found)]
    assert "Phase plane" in titles
    for title in ("Drift", "Diffusion", "Density", "Autocorrelation", "Residual quantiles", "Residuals in time"):
        assert {f"{title} of u", f"{title} of v"} <= set(titles)


def test_a_process_without_equilibrium_says_why():
    found = fitted("gbm", 1.0, torch.arange(201.0) / 10)
    (figure,) = (f for f in report_figures(found) if f.title == "Density of the observations")
    assert "no stationary density: the probability of the fitted process runs off" in figure.caption


def test_a_long_line_is_thinned_without_losing_its_extremes():
    x = np.random.default_rng(0).normal(size=100_000)
    x[54_321] = 30.0
    t, thin = thinned_line(np.arange(100_000.0), x, 500)
    assert len(t) <= 1501
    assert thin.max() == 30.0
    assert thin.min() == x.min()
    assert (np.diff(t) > 0).all()
    assert t[0] == 0
    assert t[-1] == 99_999


def test_bins_hold_every_observation_and_stay_in_the_domain():
    x = np.random.default_rng(1).gamma(0.5, size=1000)
    edges = _bin_edges(x, None, (0.0, np.inf))
    assert edges[0] >= 0.0
    assert np.histogram(x, edges)[0].sum() == 1000
    assert (np.diff(edges) > 0).all()

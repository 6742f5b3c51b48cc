"""A learned SDE goes through everything that a formula goes through."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting import learned_estimate
from pdekit.fitting.coefficients import Coefficients
from pdekit.fitting.learned import LearnedSDE, box_of
from pdekit.fitting.learned_estimate import LearnedEstimate
from pdekit.fitting.result import Fit
from pdekit.report import Flag

INF = float("inf")


class Relaxing(LearnedSDE):
    """f = -rate x, G = noise times one."""

    kind: ClassVar[str] = "relaxing"

    def __init__(self, rate, noise, names, reach):
        super().__init__(
            names, ((-INF, INF),) * len(names), reach, diagonal=True, name="relaxing", description="A test."
        )
        self.rate, self.size = rate, noise

    def drift(self, t, x):
        return -self.rate * x

    def noise(self, t, x):
        return torch.diag_embed(torch.full_like(x, self.size))

    def drift_stderr(self, x):
        return torch.full_like(x, 0.1)

    def to_record(self):
        return self._common_record(), {"numbers": torch.tensor([self.rate, self.size], dtype=torch.float64)}

    @classmethod
    def from_record(cls, record, arrays):
        common = cls._common_arguments(record)
        rate, noise = arrays["numbers"].tolist()
        return cls(rate, noise, common["state_names"], common["reach"])


def made(dim, n=1500, dt=0.1):
    rng = np.random.default_rng(3)
    decay, sd = math.exp(-dt), 0.5 * math.sqrt(-math.expm1(-2 * dt) / 2)
    x = np.zeros((n, dim))
    for k in range(1, n):
        x[k] = decay * x[k - 1] + sd * rng.standard_normal(dim)
    data = pk.Trajectories.from_arrays(np.arange(n) * dt, x if dim > 1 else x[:, 0], names=["x", "y"][:dim])
    model = Relaxing(1.0, 0.5, ("x", "y")[:dim], box_of(torch.cat(list(data.values))))
    remark = Flag("note", "A remark", "Something to know.")
    estimate = LearnedEstimate(model, data.pairs(), "By hand.", (("Bandwidth", "none"),), (remark,), effective=2.0)
    return Fit(model, data, estimate, "learned", 0)


@pytest.fixture(scope="module", params=[1, 2])
def fit(request):
    return made(request.param)


def test_likelihood_is_that_of_the_formula(fit):
    symbols = list(fit.model.state_names)
    model = pk.SymbolicSDE(
        symbols, [f"-k*{s}" for s in symbols], ["g"] * len(symbols), {"k": (0, None), "g": (0, None)}
    )
    from pdekit.fitting.densities.choose import transition_density

    theta = model.theta({"k": 1.0, "g": 0.5})
    truth = transition_density(model, fit.pairs, theta, "closed-form" if fit.model.dim == 1 else "shoji-ozaki")
    # The exact law; the grid and the integrated moments are each asked for 1e-4 nat a transition.
    assert fit.loglik == pytest.approx(float(truth.log_density(theta).sum()), abs=1e-4 * len(fit.pairs))
    assert fit.aic == pytest.approx(4.0 - 2.0 * fit.loglik)


def test_it_has_no_parameters_but_a_table_of_coefficients(fit):
    assert fit.params == {}
    text = fit.summary()
    assert "Coefficients" in text
    assert "Quantile" in text
    assert "A remark" in text
    with pytest.raises(InputError, match="no parameter"):
        fit.interval("k")


def test_diagnostics_find_a_true_model_in_order(fit):
    assert [flag.title for flag in fit.flags if flag.severity in ("warning", "serious")] == []
    assert any(check.name.startswith("Chapman") for check in fit.diagnostics().checks)


def test_page_and_picture_are_made(fit, tmp_path):
    fit.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "By hand." in page
    assert "Bandwidth" in page
    assert "Coefficients" in page
    fit.plot()


def test_bands_come_from_the_model():
    from pdekit.fitting.display.curves import coefficient_curve

    fit = made(1)
    curve = coefficient_curve(fit.evidence, "drift")
    assert torch.allclose(curve.stderr, torch.full_like(curve.x, 0.1))
    assert torch.allclose(curve.value, -curve.x)
    assert coefficient_curve(fit.evidence, "diffusion").stderr is None


def test_it_continues_the_record(fit):
    assert fit.simulate(paths=3, horizon=1.0).values.shape == (11, 3, fit.model.dim)


def test_it_is_kept_and_read_again(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(learned_estimate, "_model_class", lambda kind: Relaxing)
    fit.save(tmp_path / "kept")
    again = Fit.load(tmp_path / "kept")
    assert again.loglik == fit.loglik
    assert again.model.rate == 1.0
    assert again.model.domain == fit.model.domain
    assert [f.title for f in again.estimate.flags] == ["A remark"]


def test_a_kind_that_is_not_known_is_refused(fit, tmp_path):
    fit.save(tmp_path / "kept")
    with pytest.raises(InputError, match="'relaxing'"):
        Fit.load(tmp_path / "kept")


def test_profiles_are_refused():
    with pytest.raises(UnsupportedError, match="no profile"):
        made(1).estimate.profile(0, 0.95)


def test_slope_of_the_drift_by_the_closed_form():
    model = pk.SymbolicSDE(["x", "y"], ["x*y - x**3", "sin(y)"], ["1", "1"])
    x = torch.tensor([[0.3, -0.7], [1.2, 0.4]], dtype=torch.float64)
    slope = Coefficients(model).drift_slope(0.0, x, torch.zeros(0, dtype=torch.float64))
    assert torch.allclose(slope, torch.stack([x[:, 1] - 3 * x[:, 0] ** 2, torch.cos(x[:, 1])], -1))

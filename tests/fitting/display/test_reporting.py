"""The page of a fit: complete, self-contained, and honest where the fit is not."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest
import torch

import pdekit
from pdekit import Trajectories, fit, models, simulate
from pdekit.errors import InputError
from pdekit.fitting.display.reporting import build_page, data_digest, with_numbers, write_report
from pdekit.fitting.inference.uncertainty import Covariances


@pytest.fixture(scope="module")
def ou():
    sde = models.get("ou").at(theta=1.0, mu=0.0, sigma=0.5)
    path = simulate(sde, 0.0, torch.arange(301.0) / 10, seed=1)
    return fit(models.get("ou"), Trajectories.from_arrays(path.times, path.values[:, 0], names="<x>"), seed=3)


def test_page_has_every_section_and_what_repeats_it(ou, tmp_path):
    target = write_report(ou, tmp_path / "r.html", command="pdekit fit data.csv --seed 3")
    page = target.read_text()
    sections = (
        "Summary", "What to know before using it", "Figures", "Diagnostics", "Data", "Method", "To reproduce this page",
    )  # fmt: skip
    for section in sections:
        assert f">{section}</h2>" in page
    for part in ("pdekit fit data.csv --seed 3", torch.__version__, pdekit.__version__, data_digest(ou.data)):
        assert part in page
    for name in ou.params:
        assert f'<th scope="row">{name}</th>' in page
    assert page.count("<figure") == 7
    assert len(page) < 3_000_000


def test_page_loads_and_runs_nothing(ou):
    page = build_page(ou).html()
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", page)
    assert "<x>" not in page  # a column's name is text, not markup


def test_method_route_names_the_file(ou, tmp_path):
    ou.report(tmp_path / "r.html")
    assert (tmp_path / "r.html").exists()
    with pytest.raises(InputError, match="does not exist"):
        ou.report(tmp_path / "missing" / "r.html")


def test_the_same_fit_gives_the_same_page(ou):
    assert build_page(ou).html() == build_page(ou).html()


def test_held_parameters_are_said_to_be_held(ou):
    held = fit(ou.model, ou.data, fixed={"mu": 0.0})
    page = build_page(held).html()
    assert "mu was held at the given value" in page


def test_a_search_that_failed_is_not_passed_off_as_an_estimate(ou):
    unknown = Covariances(np.full((3, 3), np.nan), np.full((3, 3), np.nan))
    maximum = ou.estimate.maximum
    stopped = dataclasses.replace(maximum.minimum, converged=False, decrement=np.inf)
    ended = dataclasses.replace(maximum, minimum=stopped, shift=np.full(3, np.nan))
    failed = dataclasses.replace(ou, estimate=dataclasses.replace(ou.estimate, maximum=ended, errors=unknown))
    page = build_page(failed).html()
    assert "did not converge" in page
    assert "It has no band, because the estimate has no usable covariance." in page


def test_equation_with_numbers_keeps_its_form():
    values = {"alpha": 0.5, "beta": -0.2, "sigma": 1 / 3, "gamma": 0.123456}
    assert with_numbers(models.get("ckls"), values) == (
        r"d R_{t} = \left(0.5 - 0.2 R_{t}\right) \, d t + 0.3333 R_{t}^{0.1235} \, d W_{t}"
    )


def test_digest_is_that_of_the_documented_bytes():
    data = Trajectories.from_arrays([0.0, 1.0, 2.0], [[1.0, 4.0], [2.0, 5.0], [3.0, 7.0]])
    expected = np.array([0.0, 1.0, 2.0, 1.0, 4.0, 2.0, 5.0, 3.0, 7.0], dtype="<f8").tobytes()
    assert data_digest(data) == hashlib.sha256(expected).hexdigest()

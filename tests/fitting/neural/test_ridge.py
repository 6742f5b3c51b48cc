"""The ridge against dense formulas and a brute-force search of its marginal likelihood."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from pdekit.fitting.neural.ridge import ridge


def _problem(seed=0, n=60, p=6, truth=(1.0, 0.5, 0.0, 0.0, 0.0, 0.0)):
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(n, p))
    design[:, 0] = 1.0
    y = design @ np.asarray(truth) + rng.normal(size=n)
    information, target = torch.from_numpy(design.T @ design)[None], torch.from_numpy(design.T @ y)[None]
    return design, y, information, target


def test_without_groups_it_is_least_squares():
    design, y, information, target = _problem()
    found = ridge(information, target, [])
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(found.mean[0], expected, rtol=1e-9, atol=1e-9)
    assert float(found.effective) == pytest.approx(6.0, abs=1e-6)


def test_the_posterior_is_that_of_the_chosen_precision():
    _, _, information, target = _problem()
    found = ridge(information, target, [torch.arange(1, 6)])
    matrix = information[0].numpy() + np.diag(found.precision[0].numpy())
    np.testing.assert_allclose(found.covariance[0], np.linalg.inv(matrix), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.mean[0], np.linalg.solve(matrix, target[0].numpy()), rtol=1e-6, atol=1e-9)


def test_the_precision_maximises_the_marginal_likelihood():
    design, y, information, target = _problem(truth=(1.0, 0.5, 0.3, -0.4, 0.2, 0.0))
    found = ridge(information, target, [torch.arange(1, 3), torch.arange(3, 6)])

    def negative(log_alpha):
        # A nearly flat prior of the constant stands for a flat one.
        variance = np.concatenate([[1e6], np.repeat(np.exp(-log_alpha), [2, 3])])
        return -multivariate_normal.logpdf(y, np.zeros(len(y)), np.eye(len(y)) + design * variance @ design.T)

    best = minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
    chosen = np.log(found.precision[0, [1, 3]].numpy())
    # The grid has twelve points per decade, so that the maximum is missed by its curvature times a tenth squared.
    assert negative(chosen) < best.fun + 5e-3


def test_evidence_differs_by_the_log_ratio_of_marginal_likelihoods():
    design, y, information, target = _problem()
    wide = ridge(information, target, [torch.arange(1, 6)])
    narrow = ridge(information[:, :2, :2], target[:, :2], [torch.arange(1, 2)])

    def marginal(columns, alpha):
        variance = np.concatenate([[1e6], np.full(columns - 1, 1 / alpha)])
        d = design[:, :columns]
        return multivariate_normal.logpdf(y, np.zeros(len(y)), np.eye(len(y)) + d * variance @ d.T)

    expected = marginal(6, float(wide.precision[0, 1])) - marginal(2, float(narrow.precision[0, 1]))
    assert float(wide.evidence - narrow.evidence) == pytest.approx(expected, abs=1e-2)


def test_columns_that_repeat_one_another_are_no_trouble():
    design, _, _, target = _problem()
    twice = np.concatenate([design, design[:, 1:]], 1)
    information = torch.from_numpy(twice.T @ twice)[None]
    target = torch.cat([target, target[:, 1:]], 1)
    found = ridge(information, target, [torch.arange(1, 11)])
    assert bool(torch.isfinite(found.mean).all())
    assert bool((found.effective < 6.5).all())

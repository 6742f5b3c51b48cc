"""The noncentral chi-square distribution function against SciPy's sum and a Gaussian identity."""

import numpy as np
import pytest
import torch
from scipy.stats import ncx2, norm

from pdekit.fitting.densities.chi_square import noncentral_chi_square_cdf


@pytest.mark.parametrize("degrees", [0.1, 2.0, 36.0, 500.0, 5000.0])
@pytest.mark.parametrize("noncentrality", [0.0, 30.0, 900.0, 3000.0, 1e5])
def test_against_scipy(degrees: float, noncentrality: float) -> None:
    mean, deviation = degrees + noncentrality, (2 * degrees + 4 * noncentrality) ** 0.5
    x = np.concatenate(
        [mean + deviation * np.linspace(-4.5, 6, 100), mean * (1 + np.array([-1e-5, 0.0, 1e-9, 1e-5])), [0.0]]
    )
    x = np.maximum(x, 0.0)
    expected = ncx2.cdf(x, degrees, noncentrality)
    found = noncentral_chi_square_cdf(
        torch.tensor(x), degrees, torch.full((len(x),), noncentrality, dtype=torch.float64)
    )
    # The saddlepoint formula's error is 2.1e-7 at a mean of 3000 and falls with the power -3/2; within 1e-3 deviations
    # of the mean it uses a limit. Below 3000, older releases of the sum are right to 2e-12.
    tolerance = 1e-11 if mean < 3000 else 2.2e-7 * (3000 / mean) ** 1.5 + 1e-8
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


def test_one_degree_is_the_square_of_a_normal_variable() -> None:
    x, noncentrality = torch.tensor([1e7 - 5e3, 1e7 + 1e3], dtype=torch.float64), 1e7
    root = np.sqrt(x.numpy())
    expected = norm.cdf(root - noncentrality**0.5) - norm.cdf(-root - noncentrality**0.5)
    found = noncentral_chi_square_cdf(x, 1.0, torch.full_like(x, noncentrality))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)


def test_rows_on_both_sides_of_the_switch() -> None:
    noncentrality = torch.tensor([5.0, 5000.0, 50.0], dtype=torch.float64)
    x = noncentrality + 3
    found = noncentral_chi_square_cdf(x, 2.0, noncentrality)
    np.testing.assert_allclose(found.numpy(), ncx2.cdf(x.numpy(), 2.0, noncentrality.numpy()), rtol=0, atol=2.2e-7)

"""Likelihoods of snapshots on grids: against the exact laws of linear equations, gradients against differences."""

import math

import numpy as np
import pytest
import torch

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.snapshots.initial import InitialLaw
from pdekit.fitting.snapshots.line import LineLikelihood
from pdekit.fitting.snapshots.plane import PlaneLikelihood
from pdekit.symbolic import SymbolicSDE

LINE = (-math.inf, math.inf)
OU = SymbolicSDE("x", "-k*x", "s", params={"k": (0, None), "s": (0, None)})
SPIRAL = SymbolicSDE(
    ["x", "y"], ["-k*x + w*y", "-w*x - k*y"], ["s", "s"], params={"k": None, "w": None, "s": (0, None)}
)


def _normal(n, mean, deviation, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.tensor(mean) + deviation * torch.randn(n, len(mean), generator=g, dtype=torch.float64)


def _law(dim, mean, deviation):
    law = InitialLaw((LINE,) * dim, torch.tensor(mean).double(), torch.full((dim,), deviation).double(), 1)
    return law, torch.zeros(law.size, dtype=torch.float64)


def test_line_has_the_law_of_ornstein_and_uhlenbeck():
    k, s, times = 1.3, 0.8, [0.0, 0.4, 1.5]
    exact = []
    for _i, t in enumerate(times):
        var = 0.25 * math.exp(-2 * k * t) + s * s * -math.expm1(-2 * k * t) / (2 * k)
        exact.append(torch.distributions.Normal(torch.tensor(1.5 * math.exp(-k * t)).double(), math.sqrt(var)))
    data = Snapshots(times, [_normal(60, [float(d.mean)], float(d.stddev), i) for i, d in enumerate(exact)])
    law, alpha = _law(1, [1.5], 0.5)
    theta = torch.tensor([k, s]).double()
    likelihood = LineLikelihood.lay(OU, data, law, theta, alpha)
    expected = torch.cat([d.log_prob(x[:, 0]) for d, x in zip(exact, data.samples, strict=True)])
    errors = [
        (q.log_density(torch.cat([theta, alpha])) - expected).abs().max() for q in (likelihood, likelihood.refined())
    ]
    assert errors[0] < 8e-2  # five deviations out
    assert errors[1] < 0.3 * errors[0]  # of second order


def test_line_gradient_and_both_routes():
    data = Snapshots([0.0, 0.2, 0.5], [_normal(30, [m], 0.4, i) for i, m in enumerate((1.0, 0.8, 0.6))])
    law, alpha = _law(1, [1.0], 0.4)
    point = torch.tensor([1.0, 0.7]).double()
    likelihood = LineLikelihood.lay(OU, data, law, point, alpha)
    point = torch.cat([point, alpha]).requires_grad_()
    total = likelihood.log_density(point)
    (gradient,) = torch.autograd.grad(total.sum(), point)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(len(point), dtype=torch.float64)
        ahead, behind = (
            torch.stack([likelihood.log_density(point + sign * e).sum() for e in steps]) for sign in (1, -1)
        )
    assert torch.allclose(gradient, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)
    far = Snapshots(data.times, [data.samples[0], data.samples[1], torch.cat([data.samples[2], torch.tensor([[9.0]])])])
    outlier = LineLikelihood.lay(OU, far, law, point.detach()[:2], alpha)
    value = float(outlier.log_density(point.detach())[-1])
    var = 0.16 * math.exp(-1.0) + 0.49 * -math.expm1(-1.0) / 2
    exact = -0.5 * (9 - math.exp(-0.5)) ** 2 / var - 0.5 * math.log(2 * math.pi * var)
    assert value == pytest.approx(exact, rel=0.03)  # 1e-70: what an eigendecomposition would have lost


def test_plane_has_the_law_of_a_spiral_and_its_gradient():
    k, w, s, times = 1.0, 2.0, 0.8, [0.0, 0.4]
    e = math.exp(-k * 0.4)
    mean = [e * math.cos(w * 0.4), -e * math.sin(w * 0.4)]
    var = 0.25 * e * e + s * s * (1 - e * e) / (2 * k)
    data = Snapshots(times, [_normal(40, [1.0, 0.0], 0.5, 0), _normal(40, mean, math.sqrt(var), 1)])
    law, alpha = _law(2, [1.0, 0.0], 0.5)
    theta = torch.tensor([k, w, s]).double()
    likelihood = PlaneLikelihood.lay(SPIRAL, data, law, theta, alpha)
    point = torch.cat([theta, alpha]).requires_grad_()
    values = likelihood.log_density(point)
    exact = torch.distributions.Normal(torch.tensor(mean).double(), math.sqrt(var)).log_prob(data.samples[1]).sum(-1)
    errors = (values[40:].detach() - exact).abs()
    assert float(errors.median()) < 0.03
    assert float(errors.max()) < 0.4  # five deviations out
    (gradient,) = torch.autograd.grad(values.sum(), point)
    with torch.no_grad():
        steps = 1e-4 * torch.eye(len(point), dtype=torch.float64)
        ahead, behind = (
            torch.stack([likelihood.log_density(point + sign * e).sum() for e in steps]) for sign in (1, -1)
        )
    assert np.allclose(gradient, (ahead - behind) / 2e-4, rtol=1e-4, atol=1e-3)

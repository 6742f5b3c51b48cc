"""Every operator on some function, by name: what tests of states, dtypes and devices run through."""

import torch

from pdekit.operators import (
    Dense,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
    divergence,
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    ito_drift,
    jacobian_diagonal,
    laplacian,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
    second_order_operator,
)
from pdekit.sde import SDE
from tests.operators.fields import Field


def log_p(t, x):
    return torch.sin(x[..., 0]) - (x**2 * (1 + t)).sum(-1)


def score(t, x):
    return -2 * x * (1 + t)


def matrix(t, x):
    return torch.stack([torch.sin(x) + t, x.roll(1, -1)], -1)


def equations(d):
    diagonal = SDE(lambda t, x: -x, lambda t, x: 1 + x * x.roll(1, -1), dim=d, sde_type="stratonovich")
    general = SDE(lambda t, x: -x, matrix, dim=d, noise_type="general", noise_dim=2, sde_type="stratonovich")
    return diagonal, general


def vector(x):
    return torch.tanh(x) * x.roll(1, -1)


def scalar(x):
    return (torch.tanh(x) * x.roll(1, -1)).sum(-1)


def operators(d, dtype=torch.float64, device="cpu"):
    """Name -> (x -> value, and how many axes its value has for each row)."""
    found = {
        "divergence": (divergence(vector), 0),
        "diagonal": (jacobian_diagonal(vector), 1),
        "dimwise": (dimwise_derivative(vector, order=3), 1),
        "jet": (lambda x: dimwise_jet(vector, order=2)(x)[2], 1),
        "chunks": (divergence(vector, method=Dense(1)), 0),
        "laplacian": (laplacian(scalar), 0),
        "biharmonic": (biharmonic(scalar), 0),
        "second order": (
            second_order_operator(scalar, drift=torch.sin, tensor=lambda x: x[..., :, None] * x[..., None, :]),
            0,
        ),
        "in place": (divergence(Field(d, "in_place").to(device, dtype)), 0),
        "autograd inside": (dimwise_derivative(Field(d, "autograd_inside").to(device, dtype), order=2), 1),
        "own function": (laplacian(Field(d, "own_function", scalar=True).to(device, dtype)), 0),
    }
    for sde in equations(d):
        kind = sde.noise_type
        found |= {
            f"generator, {kind}": (lambda x, sde=sde: generator(scalar, sde)(0.3, x), 0),
            f"density, {kind}": (lambda x, sde=sde: fokker_planck_operator(scalar, sde)(0.3, x), 0),
            f"log form, {kind}": (lambda x, sde=sde: log_fokker_planck_operator(log_p, sde)(0.3, x), 0),
            f"score, {kind}": (lambda x, sde=sde: log_fokker_planck_operator(log_p, sde, score=score)(0.3, x), 0),
            f"residual, {kind}": (lambda x, sde=sde: fokker_planck_residual(log_p, sde)(0.3, x), 0),
            f"current, {kind}": (lambda x, sde=sde: probability_current(scalar, sde)(0.3, x), 1),
            f"flow, {kind}": (lambda x, sde=sde: probability_flow(log_p, sde)(0.3, x), 1),
            f"drift, {kind}": (lambda x, sde=sde: ito_drift(sde)(0.3, x), 1),
        }
    return found

"""The Fokker-Planck equation by nested torch.func, term by term as it stands in a textbook: slow, short and its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import hessian, jacfwd, jvp

from pdekit.sde import SDE


def noise_matrix(sde: SDE, t: Any, x: Tensor) -> Tensor:
    """G at one state (d,): (d, m)."""
    g = sde.diffusion(t, x)
    return torch.diag(g) if sde.noise_type == "diagonal" else g


def ito_drift(sde: SDE, t: Any, x: Tensor) -> Tensor:
    """The Ito drift at one state (d,), by one directional derivative per noise."""
    drift = sde.drift(t, x)
    if sde.sde_type == "ito":
        return drift
    noise = noise_matrix(sde, t, x)
    for k in range(noise.shape[1]):
        _, slope = jvp(lambda z, k=k: noise_matrix(sde, t, z)[:, k], (x,), (noise[:, k],))  # type: ignore[misc]
        drift = drift + slope / 2
    return drift


def fokker_planck(log_p: Callable[..., Tensor], sde: SDE, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """d_t p - L* p over p at one state, and the sum of the absolute values of its terms."""
    shift = log_p(t, x).detach()
    p = lambda z: torch.exp(log_p(t, z) - shift)  # noqa: E731
    rate = jacfwd(lambda s: torch.exp(log_p(s, x) - shift))(t)
    transport = jacfwd(lambda z: ito_drift(sde, t, z) * p(z))(x).diagonal()

    def spread(z: Tensor) -> Tensor:
        noise = noise_matrix(sde, t, z)
        return 0.5 * noise @ noise.T * p(z)

    d = x.shape[-1]
    noise, drift = noise_matrix(sde, t, x), ito_drift(sde, t, x)
    tensor, score = 0.5 * noise @ noise.T, jacfwd(lambda z: log_p(t, z))(x)
    second = hessian(spread)(x)  # (d, d, d, d)
    terms = torch.stack([second[i, j, i, j] for i in range(d) for j in range(d)])
    # The terms of the product rule one by one: the sums above may vanish where none of them does.
    curvature = hessian(lambda z: log_p(t, z))(x).abs() + torch.outer(score, score).abs()
    size = rate.abs() + transport.abs().sum() + terms.abs().sum()
    size = size + (drift * score).abs().sum() + (tensor.abs() * curvature).sum()
    return rate + transport.sum() - terms.sum(), size


__all__ = ["fokker_planck", "ito_drift", "noise_matrix"]

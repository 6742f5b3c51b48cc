"""The factor that gives a learned density the mass one, by bridge sampling between paths and a mixture."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_ROUNDS = 50
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Mass:
    """An estimate of the integral of p.

    Args:
        value: The estimate.
        stderr: Its standard error.
    """

    value: float
    stderr: float

    def __str__(self) -> str:
        return f"{self.value:.5f} +- {self.stderr:.1g}"


def bridge(at_paths: Tensor, at_draws: Tensor, paths: Tensor, draws: Tensor) -> Tensor:
    """The a for which p exp(sum_j r_j a_j) is most easily taken for the law of paths, as against draws from q.

    Logistic regression: it maximises the sum of log sigma(u) at paths and log sigma(-u) at draws, u = log p - log q +
    sum_j r_j a_j, a concave function. With r = 1 this is Bennett's estimate of the log of p's mass, less its sign; with
    shares r_j of a mixture's components, separated modes get the weights that the paths have.

    Args:
        at_paths: log p - log q at paths, (n,).
        at_draws: The same at draws from q, (n,).
        paths: r at paths, (n, c).
        draws: r at draws, (n, c).

    Source: C. H. Bennett, J. Comput. Phys. 22 (1976) 245; M. Gutmann and A. Hyvarinen, JMLR 13 (2012) 307.
    """
    u, r = torch.cat([at_paths, at_draws]), torch.cat([paths, draws])
    sign = torch.cat([torch.ones_like(at_paths), -torch.ones_like(at_draws)])
    a = -torch.ones_like(r[0]) * at_paths.median()
    value = lambda a: logsigmoid(sign * (u + r @ a)).mean()  # noqa: E731
    for _ in range(_ROUNDS):
        p = torch.sigmoid(u + r @ a)
        slope = r.T @ ((sign > 0).to(p) - p) / len(u)
        curve = (r * (p * (1 - p))[:, None]).T @ r / len(u)
        step = torch.linalg.solve(curve + _TINY * torch.eye(len(a)).to(a), slope)
        size = 1.0
        while size > 1e-6 and not value(a + size * step) >= value(a):
            size /= 2
        a = a + size * step
        if float((size * step).abs().max()) < 1e-9:
            break
    return a


def importance(log_ratio: Tensor) -> Mass:
    """The mass of p from log p - log q at draws from q."""
    w = log_ratio.exp()
    return Mass(float(w.mean()), float(w.std() / len(w) ** 0.5))


__all__ = ["Mass", "bridge", "importance"]

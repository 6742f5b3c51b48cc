"""Mean and covariance of one step of an SDE whose drift is linear in its coefficients, right to second order in dt.

The mean follows the drift by a Runge-Kutta step of order four, which serves systems whose drift changes fast along
the path, and adds what the noise contributes to it:

    m = Phi_dt(x) + dt^2/4 sum_lm S_lm d_l d_m f(x) + O(dt^3),    S = G G^T.

The covariance carries S through the linearised flow M(s) = exp(s J) by Simpson's rule, with S brought up to date:

    V = int_0^dt M(s) S' M(s)^T ds,    S'_ii = S_ii exp(dt/2 (L S_ii) / S_ii),

which agrees with dt S + dt^2/2 (L S + J S + S J^T) and stays positive definite at any dt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.fitting.sparse.terms import Terms

_MOST_GROWTH = 2.0


@dataclass(frozen=True)
class Noise:
    """S = G G^T: diagonal with S_ii = sum_k C_ki psi_k(x), or constant.

    Args:
        terms: The candidates psi; the constant 1 for a constant covariance.
        coefficients: C, (q, d); ignored for a constant covariance.
        constant: The constant covariance, (d, d), or None.
    """

    terms: Terms
    coefficients: Tensor
    constant: Tensor | None = None

    def diagonal(self, t: Tensor, x: Tensor) -> Tensor:
        """S_ii, (n, d)."""
        if self.constant is not None:
            return self.constant.diagonal().expand(len(x), -1)
        return self.terms.value(t, x) @ self.coefficients

    def matrix(self, t: Tensor, x: Tensor) -> Tensor:
        """S, (n, d, d)."""
        if self.constant is not None:
            return self.constant.expand(len(x), -1, -1)
        return torch.diag_embed(self.diagonal(t, x))


@dataclass(frozen=True)
class Step:
    """The law of a step to second order in dt, or of an Euler step.

    Args:
        terms: The drift's candidates phi, p in number.
        drift: Their coefficients B, (p, d): f = phi B.
        noise: The noise.
        second_order: Whether to go beyond Euler's step; the terms must be smooth.
    """

    terms: Terms
    drift: Tensor
    noise: Noise
    second_order: bool

    def slope(self, t: Tensor, x: Tensor) -> Tensor:
        """J = d f_i / d x_l, (n, d, d)."""
        return torch.einsum("nkl,ki->nil", self.terms.gradient(t, x), self.drift)

    def _bend(self, t: Tensor, x: Tensor) -> Tensor:
        """sum_lm S_lm d_l d_m phi_k, (n, p)."""
        return torch.einsum("nklm,nlm->nk", self.terms.curvature(t, x), self.noise.matrix(t, x))

    def mean(self, t: Tensor, dt: Tensor, x: Tensor) -> Tensor:
        """m, (n, d), of steps dt (n, 1) from x (n, d) at t (n, 1)."""
        phi, B = self.terms.value, self.drift
        k1 = phi(t, x) @ B
        if not self.second_order:
            return x + dt * k1
        k2 = phi(t + dt / 2, x + dt / 2 * k1) @ B
        k3 = phi(t + dt / 2, x + dt / 2 * k2) @ B
        k4 = phi(t + dt, x + dt * k3) @ B
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4) + dt * dt / 4 * (self._bend(t, x) @ B)

    def mean_and_slopes(self, t: Tensor, dt: Tensor, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """m, and d m_i / d B_ki of the active coefficients, (n, d, a).

        Args:
            t: Times, (n, 1).
            dt: Steps, (n, 1).
            x: States, (n, d).
            active: Positions in B flattened (state by state: k + p i), (a,).
        """
        p = len(self.terms)
        which, state = active % p, active // p
        unit = torch.nn.functional.one_hot(state, x.shape[1]).T.to(x)  # (d, a)
        wide = dt[..., None]

        def spread(columns: Tensor) -> Tensor:
            return columns[:, None, which] * unit

        value = self.terms.value(t, x)
        k1, d1 = value @ self.drift, spread(value)
        if not self.second_order:
            return x + dt * k1, wide * d1

        def stage(share: float, k: Tensor, dk: Tensor) -> tuple[Tensor, Tensor]:
            s, at = t + share * dt, x + share * dt * k
            value = self.terms.value(s, at)
            slope, moved = self.slope(s, at), share * wide * dk
            return value @ self.drift, spread(value) + (slope * moved if len(unit) == 1 else slope @ moved)

        k2, d2 = stage(0.5, k1, d1)
        k3, d3 = stage(0.5, k2, d2)
        k4, d4 = stage(1.0, k3, d3)
        bend = self._bend(t, x)
        mean = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4) + dt * dt / 4 * (bend @ self.drift)
        return mean, wide / 6 * (d1 + 2 * d2 + 2 * d3 + d4) + wide * wide / 4 * spread(bend)

    def covariance(self, t: Tensor, dt: Tensor, x: Tensor) -> Tensor:
        """V, (n, d, d)."""
        wide = dt[..., None]
        if not self.second_order:
            return wide * self.noise.matrix(t, x)
        f = self.terms.value(t, x) @ self.drift
        J = self.slope(t + dt / 2, x + dt / 2 * f)
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        half = eye + wide / 2 * J + wide * wide / 8 * J @ J
        whole = eye + wide * J + wide * wide / 2 * J @ J
        S = self._carried(t, dt, x, f)
        return wide / 6 * (S + 4 * half @ S @ half.mT + whole @ S @ whole.mT)

    def _carried(self, t: Tensor, dt: Tensor, x: Tensor, f: Tensor) -> Tensor:
        """S', (n, d, d)."""
        S = self.noise.matrix(t, x)
        if self.noise.constant is not None:
            return S
        terms, C = self.noise.terms, self.noise.coefficients
        along = torch.einsum("nkl,nl->nk", terms.gradient(t, x), f)
        across = 0.5 * torch.einsum("nklm,nlm->nk", terms.curvature(t, x), S)
        change = (along + across + terms.rate(t, x)) @ C
        growth = 0.5 * dt * change / S.diagonal(dim1=-2, dim2=-1)
        return S * torch.exp(growth.clamp(-_MOST_GROWTH, _MOST_GROWTH))[:, None, :]

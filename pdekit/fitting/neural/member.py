"""One member of an ensemble: a network whose last hidden units carry drift, noise and correlations linearly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdekit.fitting.neural.transitions import Rows
from pdekit.nets import MLP, HollowNet, MaskedConditioner

# The noise may differ by this factor from its typical size, either way.
NOISE_RANGE = math.log(400.0)
_HOLLOW_UNITS = 32


@dataclass(frozen=True)
class Units:
    """The scales of the data.

    Attributes:
        centre, scale: Mean and standard deviation of each state, (d,).
        low, high: Its range, (d,).
        noise: The root of the quadratic variation per time, (d,).
        clock: Middle and half length of the observed time.
    """

    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    noise: Tensor
    clock: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return dict(vars(self))


class Member(nn.Module):
    """Drift f(t, x) and noise G(t, x) from p columns b(t, x) = (1, z, u(z)), u the last hidden units of a network.

        f_i = s_i sum_p W_ip b_p,    log d_i = log sigma_i + sum_p V_ip b_p,    phi_ij = sigma_i / sigma_j sum_p M_ijp
        b_p

    and G = (1 - phi)^{-1} diag(d), lower triangular (the modified Cholesky form of Pourahmadi, Biometrika 1999), so
    that
    each of W, V, M is found by a regression of its own. Beyond the range of the data, columns keep their values at its
    edge, and the drift pulls back as that of free noise with the data's variance would.

    Args:
        architecture: What JSON can hold: dim, network, hidden, activation, noise, time, linear, gain, seed.
        units: The scales of the data.
    """

    unit_centre: Tensor
    unit_scale: Tensor
    unit_low: Tensor
    unit_high: Tensor
    unit_noise: Tensor
    unit_clock: Tensor
    gain: Tensor
    mixing_effective: Tensor  # directions of the mixing that the data determine; Cholesky noise only

    def __init__(self, architecture: Mapping[str, Any], units: Units) -> None:
        super().__init__()
        self.architecture = dict(architecture)
        self.dim, self.noise_form = int(architecture["dim"]), str(architecture["noise"])
        self.time, self.linear = bool(architecture["time"]), bool(architecture["linear"])
        self.body = _body(architecture)
        d, p = self.dim, self.columns
        self.drift_head = nn.Parameter(torch.zeros(d, p))
        self.noise_head = nn.Parameter(torch.zeros(d, p if self.noise_form != "constant" else 1))
        if self.noise_form == "cholesky":
            self.mixing_head = nn.Parameter(torch.zeros(d, d, p))
            self.register_buffer("mixing_effective", torch.zeros(()))
        self.register_buffer("gain", torch.tensor(float(architecture["gain"])))
        for name, value in units.tensors().items():
            self.register_buffer(f"unit_{name}", value.clone())
        self.double()

    @property
    def units(self) -> Units:
        """The scales of the data."""
        return Units(*(getattr(self, f"unit_{n}") for n in Units.__dataclass_fields__))

    @property
    def straight(self) -> int:
        """How many columns are 1, the states and the time."""
        return 1 + (self.dim + self.time if self.linear else 0)

    @property
    def columns(self) -> int:
        """The number of columns p."""
        width = self.architecture["hidden"][-1]
        return self.straight + (min(width, _HOLLOW_UNITS) if self.architecture["network"] == "hollow" else width)

    @property
    def shared(self) -> bool:
        """Whether all states share their columns."""
        return self.architecture["network"] == "mlp"

    @property
    def drift_scale(self) -> Tensor:
        """s = sigma^2 / (standard deviation of the state): the size of a drift that balances the noise, (d,)."""
        return self.unit_noise.square() / self.unit_scale

    def basis(self, t: Any, x: Tensor) -> Tensor:
        """b at times (n, 1) and states (n, d): (n, 1, p), or (n, d, p) where each state has columns of its own."""
        z = (x - self.unit_centre) / self.unit_scale
        tau = (torch.as_tensor(t, dtype=x.dtype, device=x.device) - self.unit_clock[0]) / self.unit_clock[1]
        tau = tau.reshape(-1, 1).expand(len(x), 1)
        inner = z * self.gain
        u = self.body(tau, inner) if self.time else self.body(inner)
        u = u[:, None] if self.shared else u
        flat = torch.cat(
            [torch.ones_like(tau), *([z] if self.linear else []), *([tau] if self.linear and self.time else [])], -1
        )
        return torch.cat([flat[:, None].expand(*u.shape[:2], -1), u], -1)

    def coefficients(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """f (n, d), log d (n, d) and phi (n, d, d) or None, at times (n, 1) and states (n, d) within the range."""
        b = self.basis(t, x)
        return self.drift_from(b), self.log_noise_from(b), self.mixing_from(b)

    def drift_from(self, b: Tensor) -> Tensor:
        """f from columns, (n, d)."""
        return self.drift_scale * _apply(b, self.drift_head)

    def log_noise_from(self, b: Tensor) -> Tensor:
        """log d from columns, (n, d)."""
        raw = _apply(b, self.noise_head) if self.noise_form != "constant" else self.noise_head[:, 0].expand(len(b), -1)
        return self.unit_noise.log() + raw.clamp(-NOISE_RANGE, NOISE_RANGE)

    def mixing_from(self, b: Tensor) -> Tensor | None:
        """phi from columns, strictly lower triangular, (n, d, d)."""
        if self.noise_form != "cholesky" or self.dim == 1:
            return None
        if self.shared:
            phi = torch.einsum("np,ijp->nij", b[:, 0], self.mixing_head)
        else:
            phi = torch.einsum("nip,ijp->nij", b, self.mixing_head)
        return torch.tril(phi, -1) * (self.unit_noise[:, None] / self.unit_noise)

    def anywhere(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """f (n, d), log d (n, d) and phi (n, d, d) or None, at any states (n, d)."""
        inside = torch.minimum(torch.maximum(x, self.unit_low), self.unit_high)
        f, log_noise, phi = self.coefficients(t, inside)
        return f - (self.drift_scale / self.unit_scale) * (x - inside), log_noise, phi

    def fields(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """f (n, d) and G (n, d, d) at any states (n, d)."""
        f, log_noise, phi = self.anywhere(t, x)
        return f, factor(log_noise, phi)

    def log_density(self, rows: Rows) -> Tensor:
        """log N(x1 - x0; f dt, G G^T dt) of each transition, (n,)."""
        f, log_noise, phi = self.coefficients(rows.t, rows.x0)
        white = whiten(rows.x1 - rows.x0 - f * rows.dt, log_noise, phi) / rows.dt.sqrt()
        return -(0.5 * white.square() + log_noise + 0.5 * torch.log(2.0 * torch.pi * rows.dt)).sum(-1)

    def heads(self) -> dict[str, Tensor]:
        """The weights that regressions find."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("body.")}


class _HiddenUnits(MLP):
    """An MLP without its last layer: the hidden units that this one would have read."""

    def __init__(self, dim: int, hidden: tuple[int, ...], activation: str, time: bool, seed: int) -> None:
        super().__init__(dim, hidden, activation, 1, time=time, seed=seed)
        del self.layers[-1]

    def forward(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """(*batch, hidden[-1])."""
        a, z = self.read(arguments, context)
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            a = self.activation(modulation(layer(a), z))
        return a


def _body(architecture: Mapping[str, Any]) -> nn.Module:
    dim, hidden, time, seed = (architecture[n] for n in ("dim", "hidden", "time", "seed"))
    if architecture["network"] == "mlp":
        return _HiddenUnits(dim, tuple(hidden), architecture["activation"], time, seed)
    conditioner = MaskedConditioner(hidden=tuple(hidden), activation=architecture["activation"])
    return HollowNet(dim, conditioner, time=time, channels=min(hidden[-1], _HOLLOW_UNITS), seed=seed)


def _apply(b: Tensor, head: Tensor) -> Tensor:
    return b[:, 0] @ head.mT if b.shape[1] == 1 else torch.einsum("nip,ip->ni", b, head)


def factor(log_noise: Tensor, phi: Tensor | None) -> Tensor:
    """G = (1 - phi)^{-1} diag(d), (n, d, d)."""
    if phi is None:
        return torch.diag_embed(log_noise.exp())
    unit = torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device) - phi
    return torch.linalg.solve_triangular(unit, torch.diag_embed(log_noise.exp()), upper=False, unitriangular=True)


def whiten(miss: Tensor, log_noise: Tensor, phi: Tensor | None) -> Tensor:
    """G^{-1} miss, (n, d)."""
    if phi is not None:
        miss = miss - (phi @ miss[..., None])[..., 0]
    return miss * torch.exp(-log_noise)


__all__ = ["NOISE_RANGE", "Member", "Units", "factor", "whiten"]

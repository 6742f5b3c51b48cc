"""Drift and noise that are tabulated functions of the state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdekit.errors import InputError
from pdekit.fitting.kramers_moyal.finite_time import factor_from
from pdekit.fitting.kramers_moyal.functions import Interpolant, interpolant_from_record
from pdekit.fitting.learned import LearnedSDE
from pdekit.report import Flag

_FUNCTIONS = ("drift", "noise", "drift_stderr", "noise_stderr")


@dataclass(frozen=True, eq=False)
class Tables:
    """What a `KernelSDE` is made of; functions take the state less `centre`, divided by `scale`.

    Attributes:
        centre: (d,).
        scale: (d,).
        pull: The rate kappa, (d,).
        drift: To f, (n, d).
        noise: To the logarithms of the diagonal of L and, for full noise, the entries below it; G = L.
        drift_stderr: To the logarithms of the standard errors of f, (n, d).
        noise_stderr: To those of the standard errors of (G G^T)_ii^{1/2}, (n, d).
    """

    centre: Tensor
    scale: Tensor
    pull: Tensor
    drift: Interpolant
    noise: Interpolant
    drift_stderr: Interpolant
    noise_stderr: Interpolant


class KernelSDE(LearnedSDE):
    """An SDE whose drift and noise are smooth functions through values at nodes.

    Among the data the functions are splines (one or two states) or radial functions (more). With p(x) the point within
    the reach of the data that is nearest to x, beyond it

        f_i(x) = f_i(p) - kappa_i (x_i - p_i),    G(x) = G(p),

    where kappa_i >= 0 is the rate at which the drift takes state i back to its mean on average, so that simulated paths
    that leave the data come back and never explode. G is the lower Cholesky factor of 2 D; what is tabulated is the
    logarithm of its diagonal, so D is positive definite everywhere.

    Args:
        tables: The functions.
        details: (name, text) of how they were estimated.
        flags: What is suspicious.
        **common: As in `LearnedSDE`.
    """

    kind = "kernel"

    def __init__(
        self, tables: Tables, *, details: tuple[tuple[str, str], ...] = (), flags: tuple[Flag, ...] = (), **common: Any
    ) -> None:
        super().__init__(**common)
        self.tables, self.details, self.flags = tables, tuple(details), tuple(flags)

    def drift(self, t: Any, x: Tensor) -> Tensor:
        """f at states (*batch, d), (*batch, d)."""
        flat, u, inside = self._locate(x)
        beyond = (u - inside) * self.tables.scale.to(flat)
        return (self.tables.drift(inside) - self.tables.pull.to(flat) * beyond).reshape(x.shape)

    def noise(self, t: Any, x: Tensor) -> Tensor:
        """G, lower triangular, (*batch, d, d)."""
        inside = self._locate(x)[2]
        return factor_from(self.tables.noise(inside), self.dim).reshape(*x.shape, self.dim)

    def tensor(self, x: Tensor) -> Tensor:
        """The diffusion tensor D = G G^T / 2 at states (*batch, d), (*batch, d, d)."""
        factor = self.noise(0.0, x)
        return 0.5 * factor @ factor.mT

    def drift_stderr(self, x: Tensor) -> Tensor:
        """Pointwise standard errors of f at states (*batch, d), (*batch, d)."""
        return self.tables.drift_stderr(self._locate(x)[2]).exp().reshape(x.shape)

    def diffusion_stderr(self, x: Tensor) -> Tensor:
        """Those of (G G^T)_ii^{1/2}, (*batch, d)."""
        return self.tables.noise_stderr(self._locate(x)[2]).exp().reshape(x.shape)

    def _locate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States (n, d), the same scaled, and the point within reach that stands for each."""
        if x.shape[-1:] != (self.dim,):
            raise InputError(f"States of shape (*batch, {self.dim}) were expected, got {tuple(x.shape)}.")
        flat = x.reshape(-1, self.dim)
        u = (flat - self.tables.centre.to(flat)) / self.tables.scale.to(flat)
        return flat, u, self.tables.drift.within_reach(u)

    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As in `LearnedSDE`."""
        names = ("severity", "title", "detail", "action", "value")
        record = {
            **self._common_record(),
            "details": [list(pair) for pair in self.details],
            "flags": [{name: getattr(flag, name) for name in names} for flag in self.flags],
        }
        arrays = {name: getattr(self.tables, name) for name in ("centre", "scale", "pull")}
        for name in _FUNCTIONS:
            record[name], parts = getattr(self.tables, name).to_record()
            arrays |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
        return record, arrays

    @classmethod
    def from_record(cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "KernelSDE":
        """As in `LearnedSDE`."""
        try:
            functions = {
                name: interpolant_from_record(
                    record[name],
                    {key.removeprefix(f"{name}."): a for key, a in arrays.items() if key.startswith(f"{name}.")},
                )
                for name in _FUNCTIONS
            }
            tables = Tables(arrays["centre"], arrays["scale"], arrays["pull"], **functions)
            details = tuple((str(name), str(text)) for name, text in record["details"])
            flags = tuple(Flag(**flag) for flag in record["flags"])
        except (KeyError, TypeError, ValueError) as cause:
            raise InputError(f"The record of a Kramers-Moyal fit is incomplete or damaged ({cause}).") from cause
        common = cls._common_arguments(record)
        dim = len(common["state_names"])
        for name in ("centre", "scale", "pull"):
            if getattr(tables, name).shape != (dim,):
                raise InputError(f"{name} of a Kramers-Moyal fit has shape {tuple(arrays[name].shape)}, not ({dim},).")
        return cls(tables, details=details, flags=flags, **common)


__all__ = ["KernelSDE", "Tables"]

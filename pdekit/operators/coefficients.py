"""What the Fokker-Planck operator needs to know of an SDE at a state: Ito drift, diffusion and their divergences."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_vector, rounding
from pdekit.operators.convention import check_dim, check_noise, column_correction, noise_of
from pdekit.operators.diagonal import diagonal_jet
from pdekit.operators.following import Refusal, follow
from pdekit.operators.memory import Memory
from pdekit.operators.methods import Exact
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Diagonal, Jet, Run, Unsupported
from pdekit.operators.second import Spread
from pdekit.operators.trust import distrust
from pdekit.sde import SDE

_ADDITIVE = Memory()


@dataclass(frozen=True, eq=False)
class Coefficients:
    """An SDE at states x, with D = G G^T / 2.

    Args:
        drift: The Ito drift F, (*batch, d).
        noise: g (*batch, d) for diagonal noise, else G (*batch, d, m).
        diagonal: Which of the two `noise` is.
        tensor_divergence: (div D)_i = sum_j d_j D_ij, (*batch, d); None where it was not asked for.
        source: sum_ij d_i d_j D_ij - div F, (*batch,); None where it was not asked for.
    """

    drift: Any
    noise: Any
    diagonal: bool
    tensor_divergence: Any = None
    source: Any = None

    @property
    def spread(self) -> Spread:
        """D as the matrix of a second-order operator."""
        half = 0.5**0.5 * self.noise
        return Spread(diagonal=half) if self.diagonal else Spread(factor=half)

    def diffused(self, vector: Any) -> Any:
        """D v for a vector field v, (*batch, d)."""
        if self.diagonal:
            return 0.5 * self.noise * self.noise * vector
        return 0.5 * torch.matmul(self.noise, torch.matmul(self.noise.transpose(-1, -2), vector.unsqueeze(-1))).squeeze(
            -1
        )


def coefficients(sde: SDE, call: Call, *, divergences: int) -> Coefficients:
    """The coefficients of an SDE at the state of a call.

    Args:
        sde: The equation, Ito or Stratonovich.
        call: (t, x).
        divergences: 0 for drift and noise only, 1 with div D, 2 with the source term as well.
    """
    check_dim(sde, call)
    call = replace(call, context={})  # the function's, not the equation's
    if sde.noise_type == "diagonal":
        return _diagonal(sde, call, divergences)
    return _general(sde, call, divergences)


def _diagonal(sde: SDE, call: Call, divergences: int) -> Coefficients:
    stratonovich = sde.sde_type == "stratonovich"
    order = max(divergences, int(stratonovich))
    f, div_f = _drift(sde, call, divergences)
    if order == 0:
        g = call.on(sde.diffusion).at(call.x)
        check_vector(call, g, what="diffusion, of diagonal noise,")
        return Coefficients(f, g, True)
    jet = diagonal_jet(call.on(sde.diffusion), order, Exact(), trace=False)
    g, first = jet.output, jet.derivatives[0]
    divergence = g * first  # d_i (g_i^2 / 2)
    if stratonovich:
        f = f + 0.5 * divergence
    if divergences < 2:
        return Coefficients(f, g, True, divergence)
    curvature = (first * first + g * jet.derivatives[1]).sum(-1)  # d_i^2 (g_i^2 / 2)
    return Coefficients(f, g, True, divergence, (0.5 if stratonovich else 1.0) * curvature - div_f)


def _drift(sde: SDE, call: Call, divergences: int) -> tuple[Any, Any]:
    if divergences < 2:
        f = call.on(sde.drift).at(call.x)
        check_vector(call, f, what="drift")
        return f, None
    jet = diagonal_jet(call.on(sde.drift), 1, Exact(), trace=True)
    return jet.output, jet.derivatives[0]


def _general(sde: SDE, call: Call, divergences: int) -> Coefficients:
    f, div_f = _drift(sde, call, divergences)
    if sde.noise_type == "additive":
        zero = torch.zeros_like(f) if divergences else None
        return Coefficients(f, _constant_noise(sde, call), False, zero, None if div_f is None else -div_f)
    correct = 1.0 if sde.sde_type == "stratonovich" else 0.0
    if divergences == 0:
        noise, correction = column_correction(sde, call) if correct else (noise_of(sde, call), 0.0)
        return Coefficients(f + correction, noise, False)
    noise, divergence, correction = _matrix_terms(sde, call)
    f = f + correction if correct else f
    if divergences < 2:
        return Coefficients(f, noise, False, divergence)

    def flux(t: Any, x: Any) -> Any:
        # Its divergence is sum_ij d_i d_j D_ij, less that of the Stratonovich correction.
        _, divergence, correction = _matrix_terms(sde, Call(sde.diffusion, (t,), x, {}, call.operator))
        return divergence - correct * correction

    jet = diagonal_jet(Call(flux, call.leading, call.x, {}, call.operator), 1, Exact(), trace=True)
    return Coefficients(f, noise, False, divergence, jet.derivatives[0] - div_f)


def _constant_noise(sde: SDE, call: Call) -> Any:
    """G of additive noise, which must not depend on x: tried once."""
    noise = noise_of(sde, call)
    if not call.readable or call.batch.numel() == 0:
        return noise
    entry = _ADDITIVE.about(sde.diffusion)
    if not entry.known:
        probes = (0.5 * call.x.detach() + 0.3, 0.7 * call.x.detach() - 0.2)
        moved = [call.on(sde.diffusion).at(x) for x in probes]
        change = max(float((g - noise).detach().abs().max()) for g in moved)
        if change > 1e2 * rounding(noise) * float(noise.detach().abs().max()):
            raise OperatorError(
                f"{call.operator}: the noise is declared additive, but the diffusion changes by {change:.3g} with the "
                'state. Declare noise_type="general".'
            )
        entry.keep(True)
    return noise


def _matrix_terms(sde: SDE, call: Call) -> tuple[Any, Any, Any]:
    """G, div D and the Stratonovich correction 1/2 sum_k (dG_k/dx) G_k."""
    noise, jacobian = _noise_jacobian(sde, call)
    check_noise(sde, call, noise)
    rows = noise.movedim(-2, 0).unsqueeze(-2)  # G_jk as (j, *batch, 1, k)
    correction = 0.5 * (jacobian * rows).sum(0).sum(-1)
    divergences = jacobian.diagonal(dim1=0, dim2=-2).sum(-1)  # div G_k, (*batch, m)
    return noise, correction + 0.5 * (noise * divergences.unsqueeze(-2)).sum(-1), correction


def _noise_jacobian(sde: SDE, call: Call) -> tuple[Any, Any]:
    """G and d_j G_ik as (j, *batch, i, k)."""
    call = call.on(sde.diffusion)
    run = Run(1, directions=True, level=call.level)
    jet = distrust(call, 1) or follow(call, run, [Diagonal(call.dim)])
    if not isinstance(jet, Refusal):
        c = jet.full(1)
        shape = (call.dim, *jet.shape)
        return jet.value, torch.zeros(shape, dtype=jet.dtype, device=jet.device) if c is None else c
    if isinstance(call.x, Jet):
        raise Unsupported(jet.reason)
    eye = torch.eye(call.dim, dtype=call.x.dtype, device=call.x.device)
    directions = eye.reshape(call.dim, *(1,) * len(call.batch), call.dim).expand(call.dim, *call.x.shape)
    output, derivatives, _ = directional_jets(call, directions, 1)
    return output, derivatives[0]

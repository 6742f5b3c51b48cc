"""Ito and Stratonovich: the drift of the Ito equation with the same solution, for any callable coefficients."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from pdekit.operators.call import make_call
from pdekit.operators.diagonal import diagonal_jet
from pdekit.operators.methods import Exact
from pdekit.operators.stochastic import along
from pdekit.sde import SDE, Field


def ito_drift(sde: SDE) -> Field:
    """The Ito drift of an SDE: its own drift if it is Ito, else the drift plus the noise-induced correction.

    For a Stratonovich equation dX = f dt + G o dW the correction is

        f_i + 1/2 sum_jk G_jk d_j G_ik,

    which is 1/2 sum_k (J_k G_k)_i with J_k the Jacobian of the k-th column G_k: m directional derivatives, taken
    exactly, in forward mode and one batched call. For diagonal noise it reduces to g_i d_i g_i / 2, whatever else g_i
    depends on; separable noise needs a single directional derivative, additive noise none.

    Args:
        sde: The equation; its coefficients must be made of torch operations unless it is Ito or its noise additive.

    Returns:
        A callable (t, x) -> (*batch, d) for x of shape (*batch, d), differentiable in x and in closed-over tensors.

    Source: P. E. Kloeden and E. Platen, Numerical Solution of Stochastic Differential Equations, 1992, section 4.9.

    Example:
        dX = X o dW is the Ito equation dX = X/2 dt + X dW:

        >>> import torch
        >>> from pdekit.sde import SDE
        >>> sde = SDE(lambda t, x: 0 * x, lambda t, x: x, dim=1, sde_type="stratonovich")
        >>> ito_drift(sde)(0.0, torch.tensor([[4.0]]))
        tensor([[2.]])
    """
    if sde.sde_type == "ito" or sde.noise_type == "additive":
        return sde.drift
    correction = _correction(sde)

    def drift(t: Any, x: Tensor) -> Tensor:
        return sde.drift(t, x) + correction(t, x)

    return drift


def to_ito(sde: SDE) -> SDE:
    """The Ito SDE with the same solution as `sde`; `sde` itself if it is Ito already.

    Args:
        sde: The equation to convert; see `ito_drift`.

    Returns:
        An SDE with `sde_type="ito"`, the drift `ito_drift(sde)` and everything else unchanged.

    Example:
        >>> from pdekit.sde import SDE
        >>> to_ito(SDE(lambda t, x: -x, lambda t, x: x, dim=1, sde_type="stratonovich")).sde_type
        'ito'
    """
    return sde if sde.sde_type == "ito" else replace(sde, drift=ito_drift(sde), sde_type="ito")


def _correction(sde: SDE) -> Field:
    if sde.noise_type == "diagonal" and not sde.separable:
        return lambda t, x: _diagonal_correction(sde.diffusion, t, x)
    return lambda t, x: _directional_correction(sde, t, x)


def _diagonal_correction(g: Field, t: Any, x: Tensor) -> Tensor:
    jet = diagonal_jet(make_call("ito_drift", g, (t, x), {}), 1, Exact(), trace=False)
    return 0.5 * jet.output * jet.derivatives[0]


def _directional_correction(sde: SDE, t: Any, x: Tensor) -> Tensor:
    call = make_call("ito_drift", sde.diffusion, (t, x), {})
    value = call.at(x)
    if sde.separable:  # the Jacobian of g is diagonal, so its product with g is g_i d_i g_i
        return 0.5 * along(call, value.unsqueeze(0), 1)[1][0][0]
    # Direction k is the column G_k; of the derivative of the matrix only column k is wanted.
    slopes = along(call, value.movedim(-1, 0), 1)[1][0]
    return 0.5 * slopes.diagonal(dim1=0, dim2=-1).sum(-1)

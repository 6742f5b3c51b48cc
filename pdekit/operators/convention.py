"""Ito and Stratonovich: the drift of the Ito equation with the same solution, for any callable coefficients."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, check_vector, make_call, rounding
from pdekit.operators.diagonal import diagonal_jet
from pdekit.operators.memory import Memory
from pdekit.operators.methods import Exact
from pdekit.operators.propagation import Jet
from pdekit.operators.stochastic import along
from pdekit.sde import SDE, Field

_SEPARABLE = Memory()


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
    check_sde(sde, "ito_drift")
    if sde.sde_type == "ito" or sde.noise_type == "additive":
        return sde.drift
    correction = _correction(sde)

    def drift(t: Any, x: Tensor) -> Tensor:
        shift = correction(t, x)
        return sde.drift(t, x) + shift

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
    check_sde(sde, "to_ito")
    return sde if sde.sde_type == "ito" else replace(sde, drift=ito_drift(sde), sde_type="ito")


def _correction(sde: SDE) -> Field:
    def correction(t: Any, x: Tensor) -> Tensor:
        call = make_call("ito_drift", sde.diffusion, (t, x), {})
        check_dim(sde, call)
        if sde.noise_type != "diagonal":
            return column_correction(sde, call)[1]
        return _separable_correction(call) if sde.separable else _diagonal_correction(call)

    return correction


def column_correction(sde: SDE, call: Call) -> tuple[Any, Any]:
    """G and 1/2 sum_k J_k G_k, by one directional derivative for each column G_k."""
    noise = noise_of(sde, call)
    # Direction k is the column G_k; of the derivative of the matrix only column k is wanted.
    slopes = along(call.on(sde.diffusion), noise.movedim(-1, 0), 1)[1][0]
    return noise, 0.5 * slopes.diagonal(dim1=0, dim2=-1).sum(-1)


def _diagonal_correction(call: Call) -> Any:
    jet = diagonal_jet(call, 1, Exact(), trace=False)
    return 0.5 * jet.output * jet.derivatives[0]


def _separable_correction(call: Call) -> Any:
    # The Jacobian of g is diagonal, so its product with g is g_i d_i g_i.
    value = call.at(call.x)
    check_vector(call, value, what="diffusion, of diagonal noise,")
    correction = 0.5 * along(call, value.unsqueeze(0), 1)[1][0][0]
    entry = _SEPARABLE.about(call.function)
    if call.readable and not entry.known:
        error = (correction - _diagonal_correction(call)).detach().abs()
        if bool((error > 1e4 * rounding(value) * (1 + correction.detach().abs())).any()):
            raise OperatorError(
                f"{call.operator}: the noise is declared separable, but some g_i depends on another state than x_i. "
                "Declare separable=False."
            )
        entry.keep(True)
    return correction


def noise_of(sde: SDE, call: Call) -> Any:
    """The matrix G at a call, (*batch, d, m).

    Raises:
        OperatorError: If it has another shape.
    """
    noise = call.on(sde.diffusion).at(call.x)
    check_noise(sde, call, noise)
    return noise


def check_noise(sde: SDE, call: Call, noise: Any) -> None:
    """Refuse a G that is not (*batch, d, m).

    Raises:
        OperatorError: With the shapes expected and got.
    """
    expected = (*call.x.shape, sde.noise_dim)
    got = tuple(noise.shape) if isinstance(noise, Tensor | Jet) else type(noise).__name__
    if got != expected:
        raise OperatorError(
            f"{call.operator}: the diffusion must return {expected} for {sde.noise_type} noise of {sde.noise_dim} "
            f"Brownian motions (noise_dim), got {got}."
        )


def check_sde(sde: Any, operator: str) -> None:
    """Refuse what is no SDE with its parameters fixed.

    Raises:
        OperatorError: With what it is.
    """
    if not isinstance(sde, SDE):
        raise OperatorError(
            f"{operator}: expected a pdekit.SDE, got {type(sde).__name__}. A SymbolicSDE gives one with .at(...)."
        )


def check_dim(sde: SDE, call: Call) -> None:
    """Refuse a state of another dimension than the SDE's.

    Raises:
        OperatorError: With both.
    """
    if call.dim != sde.dim:
        raise OperatorError(f"{call.operator}: the SDE has {sde.dim} states, the state given has {call.dim}.")

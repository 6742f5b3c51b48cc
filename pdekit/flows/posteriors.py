"""The flows that posteriors of autoencoders are compared with, by name."""

from collections.abc import Callable

from pdekit.errors import InputError
from pdekit.flows.bijection import Bijection
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.encoders import vae_networks
from pdekit.flows.images import check_shape
from pdekit.flows.masked_layers import MaskedFlow
from pdekit.flows.residual_layers import PlanarFlow, SylvesterFlow
from pdekit.flows.vae import VAE
from pdekit.nets.conditioners.masked import MaskedConditioner
from pdekit.nets.hollow import HollowNet
from pdekit.nets.plain import ConcatSquashMLP
from pdekit.ode.control import Fixed
from pdekit.ode.methods import RK4
from pdekit.operators.methods import Hutchinson

Made = Callable[[int, int, int, int, int], Bijection]  # latent, context, layers, hidden, seed

_STEP = 0.5  # of the Runge-Kutta method that continuous flows are trained with; they are judged by tolerance


def _planar(latent: int, context: int, layers: int, hidden: int, seed: int) -> Bijection:
    return PlanarFlow(latent, layers, context, seed=seed)


def _sylvester(latent: int, context: int, layers: int, hidden: int, seed: int) -> Bijection:
    return SylvesterFlow(latent, layers, max(1, latent // 2), context, seed=seed)


def _iaf(latent: int, context: int, layers: int, hidden: int, seed: int) -> Bijection:
    return MaskedFlow(latent, "autoregressive", layers, (hidden,), context, seed=seed)


def _ffjord(latent: int, context: int, layers: int, hidden: int, seed: int) -> Bijection:
    field = ConcatSquashMLP(latent, (hidden, hidden), "softplus", context_dim=context, seed=seed)
    return ContinuousFlow(field, Hutchinson(), method=RK4(), control=Fixed(_STEP))


def _hollow(latent: int, context: int, layers: int, hidden: int, seed: int) -> Bijection:
    conditioner = MaskedConditioner(hidden=(hidden, hidden))
    field = HollowNet(latent, conditioner, time=True, context_dim=context, seed=seed)
    return ContinuousFlow(field, method=RK4(), control=Fixed(_STEP))


_MADE: dict[str, Made | None] = {
    "none": None,
    "planar": _planar,
    "iaf": _iaf,
    "sylvester": _sylvester,
    "ffjord": _ffjord,
    "hollow-cnf": _hollow,
}
POSTERIORS = tuple(_MADE)


def vae_with(
    posterior: str,
    shape: tuple[int, int],
    latent: int = 8,
    *,
    context_dim: int = 32,
    layers: int = 4,
    hidden: int = 64,
    networks: tuple[int, ...] = (256, 128),
    seed: int = 0,
) -> VAE:
    """An autoencoder of images with one of the posteriors that the papers compare.

    Args:
        posterior: One of `POSTERIORS`: `"none"` (a normal law), `"planar"`, `"iaf"`, `"sylvester"` (its rank half of
            the latent entries), `"ffjord"` (Hutchinson's trace) or `"hollow-cnf"` (the exact trace).
        shape: Height and width of the images.
        latent: Entries of the latent vector.
        context_dim: Length of what the encoder tells the flow.
        layers: Of a discrete flow.
        hidden: Units of the networks inside flows.
        networks: Units of encoder and decoder, see `vae_networks`; images of 28 x 28 pixels have convolutions instead.
        seed: Of the initial parameters.

    Raises:
        InputError: If there is no such posterior, or the shape is none.
        ModelError: If a number is none.

    Example:
        >>> vae_with("planar", (8, 8)).flow.dim
        8
    """
    if posterior not in _MADE:
        raise InputError(f"posterior must be one of {', '.join(POSTERIORS)}, got {posterior!r}.")
    shape = check_shape(shape)
    make = _MADE[posterior]
    flow = None if make is None else make(latent, context_dim, layers, hidden, seed)
    parts = vae_networks(shape, latent, 0 if flow is None else context_dim, networks, seed=seed)
    return VAE(*parts, latent, flow, shape=shape)


__all__ = ["POSTERIORS", "vae_with"]

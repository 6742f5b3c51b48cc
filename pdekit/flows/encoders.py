"""Encoders and decoders of images for variational autoencoders."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from pdekit.flows.images import check_shape
from pdekit.nets.conditioners.checks import check_count, counts
from pdekit.nets.field import seeded

_MNIST = (28, 28)


def vae_networks(
    shape: tuple[int, int], latent: int, context_dim: int, hidden: tuple[int, ...] = (256, 128), *, seed: int | None = 0
) -> tuple[nn.Module, nn.Module]:
    """An encoder (n, pixels) -> (n, 2 latent + context_dim) and a decoder (n, latent) -> (n, pixels).

    For images of 28 x 28 pixels they are the gated convolutions of van den Berg et al., else gated perceptrons.

    Args:
        shape: Height and width of the images.
        latent: The length of the latent vector.
        context_dim: What the encoder tells a flow besides, 0 for nothing.
        hidden: Units of the perceptrons' layers, from the image inwards.
        seed: Of the initial parameters.

    Raises:
        ModelError: If a number is none.
        InputError: If the shape is none.

    Source: R. van den Berg et al., Sylvester normalizing flows for variational inference, UAI 2018, arXiv 1803.05649.

    Example:
        >>> encoder, decoder = vae_networks((8, 8), 4, 16)
        >>> encoder(torch.zeros(3, 64)).shape, decoder(torch.zeros(3, 4)).shape
        (torch.Size([3, 24]), torch.Size([3, 64]))
    """
    shape = check_shape(shape)
    hidden = counts("hidden", hidden)
    check_count("latent", latent)
    check_count("context_dim", context_dim, least=0)
    told = 2 * latent + context_dim
    with seeded(seed):
        if shape == _MNIST:
            return _convolutions(latent, told)
        pixels = shape[0] * shape[1]
        encoder = [Gated(nn.Linear(a, 2 * b)) for a, b in pairwise((pixels, *hidden))]
        decoder = [Gated(nn.Linear(a, 2 * b)) for a, b in pairwise((latent, *hidden[::-1]))]
        return (
            nn.Sequential(*encoder, nn.Linear(hidden[-1], told)),
            nn.Sequential(*decoder, nn.Linear(hidden[0], pixels)),
        )


class Gated(nn.Module):
    """a * sigmoid(b), where a and b are the halves of what a layer makes.

    Args:
        layer: It, with an even number of outputs along dimension 1.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The gated half."""
        value, gate = self.layer(x).chunk(2, dim=1)
        return value * torch.sigmoid(gate)


def _convolutions(latent: int, told: int) -> tuple[nn.Module, nn.Module]:
    def down(a: int, b: int, size: int, stride: int, padding: int) -> Gated:
        return Gated(nn.Conv2d(a, 2 * b, size, stride, padding))

    def up(a: int, b: int, size: int, stride: int, padding: int) -> Gated:
        return Gated(nn.ConvTranspose2d(a, 2 * b, size, stride, padding, output_padding=stride - 1))

    encoder = nn.Sequential(
        nn.Unflatten(1, (1, *_MNIST)),
        down(1, 32, 5, 1, 2),
        down(32, 32, 5, 2, 2),
        down(32, 64, 5, 1, 2),
        down(64, 64, 5, 2, 2),
        down(64, 64, 5, 1, 2),
        down(64, 256, 7, 1, 0),
        nn.Flatten(),
        nn.Linear(256, told),
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (latent, 1, 1)),
        up(latent, 64, 7, 1, 0),
        up(64, 64, 5, 1, 2),
        up(64, 32, 5, 2, 2),
        up(32, 32, 5, 1, 2),
        up(32, 32, 5, 2, 2),
        up(32, 32, 5, 1, 2),
        nn.Conv2d(32, 1, 1),
        nn.Flatten(),
    )
    return encoder, decoder


__all__ = ["Gated", "vae_networks"]

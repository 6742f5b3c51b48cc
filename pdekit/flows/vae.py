"""The variational autoencoder of binary images whose posterior is carried by a flow."""

import math
from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pdekit.errors import InputError
from pdekit.flows.bijection import Bijection
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.transport import Transport
from pdekit.nets.conditioners.checks import check_count

_AT_ONCE = 20_000  # latent states


class VAE(nn.Module):
    """p(x) = integral of p(x | z) N(z; 0, 1) dz, Bernoulli pixels, with q(z | x) made by a flow from a normal law.

    The encoder tells for every image the mean and the logarithm of the spread of z0, and a context c; the flow carries
    z0 to z and is told c:

        log q(z | x) = log N(z0; mean, spread^2) - log |det dz/dz0|.

    Args:
        encoder: (n, pixels) -> (n, 2 latent + c).
        decoder: (n, latent) -> logits (n, pixels).
        latent: The length of z.
        flow: A `Bijection` of z0 with a context of length c; None for none.
        shape: Height and width of the images, for pictures; None if they are no images.

    Raises:
        InputError: If the flow has another dimension.

    Source: D. J. Rezende and S. Mohamed, Variational inference with normalizing flows, ICML 2015, arXiv 1505.05770.

    Example:
        >>> from pdekit.flows import SylvesterFlow, vae_networks
        >>> vae = VAE(*vae_networks((8, 8), 4, 16), 4, SylvesterFlow(4, 2, 2, context_dim=16, seed=0))
        >>> vae.elbo(torch.ones(3, 64), torch.Generator().manual_seed(0)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        flow: Bijection | None = None,
        *,
        shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        check_count("latent", latent)
        if flow is not None and not isinstance(flow, Bijection):
            raise InputError(f"flow must be a Bijection such as PlanarFlow(...), got {type(flow).__name__}.")
        if flow is not None and flow.dim != latent:
            raise InputError(f"The flow must carry {latent} entries, got one of {flow.dim}.")
        self.encoder, self.decoder, self.latent, self.flow, self.shape = encoder, decoder, latent, flow, shape

    @property
    def context_dim(self) -> int:
        """c, 0 without a flow."""
        return 0 if self.flow is None else self.flow.context_dim

    def elbo(self, x: Tensor, generator: torch.Generator, *, weight: float = 1.0) -> Tensor:
        """One draw of log p(x | z) + weight (log p(z) - log q(z | x)) for binary images (n, pixels), (n,).

        The weight is 1 but for warming up; the random directions of a stochastic trace come from the generator too.

        Raises:
            InputError: If the encoder's output has another length.
        """
        return self._terms(x, self._encoded(x), generator, weight)

    def log_likelihood(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """log p(x) by importance sampling, (n,): log mean_k p(x, z_k) / q(z_k | x).

        Its expectation grows with the number of samples towards log p(x). A noisy trace would make the weights
        unequal and the mean too high: give flows the exact trace by `changed` first.

        Args:
            x: Binary images (n, pixels).
            samples: How many for each image.
            generator: Of the samples.
        """
        check_count("samples", samples)
        if not len(x):
            return x.new_zeros(0)
        told = self._encoded(x)
        found = []
        rows = max(1, _AT_ONCE // samples)
        for part, about in zip(x.split(rows), told.split(rows), strict=True):
            total = part.new_full((len(part),), -math.inf)
            for count in _chunks(samples, max(1, _AT_ONCE // len(part))):
                many, same = (z.repeat_interleave(count, 0) for z in (part, about))
                weights = self._terms(many, same, generator, 1.0).reshape(len(part), count)
                total = torch.logaddexp(total, weights.logsumexp(-1))
            found.append(total - math.log(samples))
        return torch.cat(found)

    def changed(self, **options: object) -> "VAE":
        """The same networks with other options of a continuous flow, such as `trace=Exact(), rtol=1e-5`."""
        unknown = set(options) - {f.name for f in fields(Transport)}
        if unknown:
            raise InputError(f"There is no option {sorted(unknown)[0]!r} of a continuous flow.")
        flow = self.flow.changed(**options) if isinstance(self.flow, ContinuousFlow) else self.flow
        return VAE(self.encoder, self.decoder, self.latent, flow, shape=self.shape)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Probabilities of the pixels of n new images, (n, pixels)."""
        like = next(self.parameters())
        z = torch.randn(n, self.latent, generator=generator, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            return torch.sigmoid(self.decoder(z))

    def _encoded(self, x: Tensor) -> Tensor:
        told = self.encoder(x)
        if told.shape != (len(x), 2 * self.latent + self.context_dim):
            raise InputError(
                f"The encoder must make (n, {2 * self.latent + self.context_dim}): mean and log spread of "
                f"{self.latent} entries and a context of {self.context_dim}, got {tuple(told.shape)}."
            )
        return told

    def _terms(self, x: Tensor, told: Tensor, generator: torch.Generator, weight: float) -> Tensor:
        mean, log_spread, context = told.split([self.latent, self.latent, self.context_dim], -1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z, change = mean + log_spread.exp() * noise, x.new_zeros(len(x))
        if self.flow is not None:
            flow = self.flow
            if isinstance(flow, ContinuousFlow):
                flow = flow.with_directions(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
            z, change = flow(z, context if self.context_dim else None)
        # The constants of the two normal laws cancel.
        prior, posterior = -0.5 * z.square().sum(-1), -(0.5 * noise.square() + log_spread).sum(-1) - change
        seen = -binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)
        return seen + weight * (prior - posterior)


def _chunks(total: int, most: int) -> list[int]:
    return [min(most, total - done) for done in range(0, total, most)]


__all__ = ["VAE"]

"""The law that a chain of invertible layers makes of a simple one, as a distribution."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pdekit.errors import InputError
from pdekit.flows.bijection import Bijection
from pdekit.flows.cnf import read_shape


class NormalizingFlow(Distribution):
    """The law of X, where T(X) has the base law: log p(x) = log p_base(T(x)) + log |det dT/dx|.

    Args:
        bijection: T, from data to the base.
        base: The law of T(X), over vectors (d,).
        context: What T is told, (*batch, c): one law for each row.

    Raises:
        InputError: If base is no law over vectors of that length, or a context is missing or too much.

    Example:
        >>> from pdekit.flows import PlanarFlow
        >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
        >>> flow = NormalizingFlow(PlanarFlow(2, layers=4, seed=0), base)
        >>> flow.log_prob(flow.sample((5,))).shape
        torch.Size([5])
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch asks for it
    has_rsample = True

    def __init__(self, bijection: Bijection, base: Distribution, *, context: Tensor | None = None) -> None:
        if not isinstance(bijection, Bijection):
            raise InputError(f"bijection must be one, such as PlanarFlow(2), got {type(bijection).__name__}.")
        if not isinstance(base, Distribution) or base.event_shape != (bijection.dim,) or base.batch_shape:
            raise InputError(f"base must be one law over vectors ({bijection.dim},), got {base!r}.")
        if context is not None and not isinstance(context, Tensor):
            raise InputError(
                f"context must be a tensor (*batch, {bijection.context_dim}), got {type(context).__name__}."
            )
        if context is not None and not bijection.context_dim:
            raise InputError(f"{type(bijection).__name__} takes no context: build it with context_dim=.")
        if context is not None and (context.ndim == 0 or context.shape[-1] != bijection.context_dim):
            raise InputError(f"context must be (*batch, {bijection.context_dim}), got {tuple(context.shape)}.")
        self.bijection, self.base, self.context = bijection, base, context
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch_shape=batch, event_shape=base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """All of R^d."""
        return constraints.real_vector

    def given(self, context: Tensor | None) -> "NormalizingFlow":
        """The laws given contexts (*batch, c), with batch_shape (*batch)."""
        return NormalizingFlow(self.bijection, self.base, context=context)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) at states (*shape, *batch, d), (*shape, *batch)."""
        dim = self.bijection.dim
        if not isinstance(value, Tensor) or value.shape[-1:] != (dim,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"x must be a tensor of states (*batch, {dim}), got {got}.")
        try:
            x = value.expand(torch.broadcast_shapes(value.shape, (*self.batch_shape, dim)))
        except RuntimeError as cause:
            raise InputError(
                f"x of shape {tuple(value.shape)} does not go with contexts of batch shape {tuple(self.batch_shape)}."
            ) from cause
        y, change = self.bijection(x, self.context)
        return self.base.log_prob(y) + change

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, *batch, d) that gradients pass through."""
        shape = read_shape(sample_shape) + self.batch_shape
        drawn = self.base.rsample(shape) if self.base.has_rsample else self.base.sample(shape)
        return self.bijection.inverse(drawn, self.context)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples (*sample_shape, *batch, d)."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def __repr__(self) -> str:
        return f"NormalizingFlow({type(self.bijection).__name__}, {self.base!r})"


__all__ = ["NormalizingFlow"]

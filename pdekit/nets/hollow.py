"""Hollow networks: f_i = tau(x_i, h_i) with h_i independent of x_i, so that derivatives by x_i cost one pass."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from pdekit.errors import ModelError
from pdekit.nets.conditioners.base import ConditionerOptions
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.conditioners.masked import MaskedConditioner
from pdekit.nets.field import Field, seeded
from pdekit.nets.modulation import Modulation, ModulationKind
from pdekit.nets.parts import described, rebuilt, shown
from pdekit.nets.transformer import MLPTransformer, MLPTransformerModule


class HollowNet(Field):
    """f_i(t, x) = tau(x_i, h_i), h = conditioner(x, z), where h_i sees every entry of x but x_i and z = (t, context).

    Its Jacobian is diag(d tau / d x) plus a matrix with zero diagonal, so all d dimension-wise derivatives, of any
    order, come from one pass through the small network tau with h held: see `condition` and `transform`.

    Args:
        dim: The number of states d.
        conditioner: What makes h: options such as `MaskedConditioner()`, the default, or a module of your own with
            `forward(x, z) -> (*batch, d, features)` and an attribute `features`; z is (*batch, conditioning_dim) or
            None. Nothing here can check that a module of your own is hollow; the operators do when they use it.
        transformer: What makes f: options, `MLPTransformer()` by default, or a module of your own with
            `forward(x, h) -> (*batch, d)`, or `(*batch, d, channels)` if there are several channels.
        time: Whether f takes a time.
        context_dim: The length of the context; 0 if f takes none.
        modulation: How z changes h, `"film"` or `"concatenate"`; the conditioner's own layers have their own.
        channels: The number of functions per dimension.
        seed: Fixes the initial parameters, whatever torch's random state, which stays as it is.

    Call it as `f(x)`, `f(t, x)`, `f(x, context=c)` or `f(t, x, context=c)`, the state last; shapes as in `Field`. The
    value is (*batch, d), or (*batch, d, channels) if there are several.

    Raises:
        ModelError: If an option does not fit.
        InputError: If it is called with arguments of other shapes or types.

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019,
    arXiv 1912.03579.

    Example:
        >>> net = HollowNet(3, time=True, seed=0)
        >>> net(0.5, torch.zeros(10, 3)).shape
        torch.Size([10, 3])
        >>> net
        HollowNet(dim=3, time=True, context_dim=0, channels=1), 17,067 parameters, d_h = 8
          conditioner: MaskedConditioner(features=8, hidden=(64, 64), block=32, rank=16, activation='silu',
                                         modulation='film')
          modulation: film
          transformer: MLPTransformer(hidden=(16,), activation='sigmoid', gated=True)
    """

    def __init__(
        self,
        dim: int,
        conditioner: ConditionerOptions | nn.Module | None = None,
        transformer: MLPTransformer | nn.Module | None = None,
        *,
        time: bool = False,
        context_dim: int = 0,
        modulation: ModulationKind = "film",
        channels: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__(dim, time=time, context_dim=context_dim)
        check_count("channels", channels)
        self.channels = channels
        conditioner = MaskedConditioner() if conditioner is None else conditioner
        transformer = MLPTransformer() if transformer is None else transformer
        self.description = {"conditioner": described(conditioner), "transformer": described(transformer)}
        with seeded(seed):
            self.conditioner = self._conditioner(conditioner)
            self.modulation = Modulation(self.features, self.conditioning_dim, modulation)
            self.transformer = self._transformer(transformer)
        if seed is not None:
            self.to(torch.get_default_device())

    def _conditioner(self, conditioner: Any) -> nn.Module:
        if not isinstance(conditioner, nn.Module):
            if isinstance(conditioner, type) or not isinstance(conditioner, ConditionerOptions):
                raise ModelError(
                    "conditioner must be options such as MaskedConditioner(), or a module with forward(x, z), "
                    f"got {conditioner!r}."
                )
            return conditioner.build(self.dim, self.conditioning_dim)
        check_count("the conditioner's attribute features", getattr(conditioner, "features", None))
        # One that was built for no z may come into any network: z still changes h afterwards.
        for name, fitting in (("dim", {self.dim}), ("conditioning_dim", {0, self.conditioning_dim})):
            found = getattr(conditioner, name, None)
            if found is not None and found not in fitting:
                raise ModelError(
                    f"The conditioner was built for {name}={found}, this network has {name}={max(fitting)}."
                )
        return conditioner

    def _transformer(self, transformer: Any) -> nn.Module:
        if isinstance(transformer, nn.Module):
            return transformer
        if not isinstance(transformer, MLPTransformer):
            raise ModelError(
                f"transformer must be MLPTransformer(...), or a module with forward(x, h), got {transformer!r}."
            )
        return transformer.build(self.features, self.channels)

    @property
    def features(self) -> int:
        """The number of hollow features per dimension, d_h."""
        return int(self.conditioner.features)  # type: ignore[arg-type]

    def condition(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """The hollow features h (*batch, d, d_h), after z has changed them; arguments as in the call of the network.

        Raises:
            InputError: If the arguments do not fit, see `Field`.
            ModelError: If a conditioner of your own returns another shape.
        """
        x, z = self.read(arguments, context)
        h = self.conditioner(x, z)
        if h.shape != (*x.shape, self.features):
            raise ModelError(
                f"The conditioner must return (*batch, d, features) = {(*x.shape, self.features)}, "
                f"got {tuple(h.shape)}."
            )
        return self.modulation(h, z)

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        """f = tau(x, h), each entry of x by itself: (*batch, d), or (*batch, d, channels) if there are several."""
        return self.transformer(x, h)

    def forward(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """f(x), f(t, x), f(x, context=c) or f(t, x, context=c)."""
        h = self.condition(*arguments, context=context)
        return self.transform(arguments[-1], h)

    def fields(self) -> "tuple[HollowField, ...]":
        """One hollow field (*batch, d) per channel: a drift and a diffusion, say, that share one conditioner.

        Example:
            >>> drift, log_diffusion = HollowNet(3, channels=2).fields()
            >>> drift(torch.zeros(10, 3)).shape
            torch.Size([10, 3])
        """
        return tuple(HollowField(self, channel) for channel in range(self.channels))

    def architecture(self) -> dict[str, Any]:
        """The arguments it was built with; a module of your own is there by the name of its class alone."""
        return {
            "dim": self.dim,
            "time": self.time,
            "context_dim": self.context_dim,
            "modulation": self.modulation.kind,
            "channels": self.channels,
            **self.description,
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> Self:
        """A network with new parameters.

        Raises:
            InputError: If a part was a module of the user's own.
        """
        parts = {name: rebuilt(name, architecture[name]) for name in ("conditioner", "transformer")}
        return cls(**{**architecture, **parts})

    def __repr__(self) -> str:
        """The architecture, the number of parameters and d_h."""
        return (
            f"HollowNet(dim={self.dim}, time={self.time}, context_dim={self.context_dim}, channels={self.channels}), "
            f"{self.size():,} parameters, d_h = {self.features}\n"
            f"  conditioner: {shown(self.description['conditioner'])}\n"
            f"  modulation: {self.modulation.kind if self.conditioning_dim else 'none'}\n"
            f"  transformer: {shown(self.description['transformer'])}"
        )


class HollowField(nn.Module):
    """One channel of a hollow network, as a hollow field of its own: (*batch, d).

    Args:
        net: The network; its parameters are this field's.
        channel: Which channel.
    """

    def __init__(self, net: HollowNet, channel: int) -> None:
        super().__init__()
        self.net, self.channel = net, channel

    def condition(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """The hollow features that all channels share, see `HollowNet.condition`."""
        return self.net.condition(*arguments, context=context)

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        """This channel of `HollowNet.transform`."""
        if isinstance(self.net.transformer, MLPTransformerModule):
            return self.net.transformer(x, h, channel=self.channel)
        f = self.net.transform(x, h)
        return f if self.net.channels == 1 else f[..., self.channel]

    def forward(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """This channel of the network, called in the same way."""
        return self.transform(arguments[-1], self.condition(*arguments, context=context))


__all__ = ["HollowField", "HollowNet"]

"""Autoregressive and coupling flows: zuko's layers behind this package's door."""

from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.flows.bijection import Bijection
from pdekit.nets.conditioners.checks import check_count, counts
from pdekit.nets.field import seeded

KINDS = ("autoregressive", "coupling")


class MaskedFlow(Bijection):
    """K affine layers whose shifts and scales come from entries that are passed on, by masked networks.

    `"autoregressive"` layers are fast forwards and take d passes to invert: inverse autoregressive flow where samples
    are carried forwards (Kingma et al. 2016), masked autoregressive flow where data are (Papamakarios et al. 2017).
    `"coupling"` layers are fast both ways (Dinh et al. 2017). The order of entries is reversed from layer to layer.

    Args:
        dim: d.
        kind: `"autoregressive"` or `"coupling"`.
        layers: K.
        hidden: Units of the network of each layer.
        context_dim: The length of the context, 0 without one.
        seed: Fixes the initial parameters, whatever torch's random state.

    Raises:
        ModelError: If a number is none.
        InputError: If there is no such kind, zuko is not installed, or it is called with other shapes.

    Example:
        >>> flow = MaskedFlow(3, "coupling", layers=2, hidden=(16,), seed=0)
        >>> y, log_det = flow(torch.zeros(5, 3))
        >>> torch.testing.assert_close(flow.inverse(y), torch.zeros(5, 3), rtol=1e-5, atol=1e-5)
    """

    def __init__(
        self,
        dim: int,
        kind: str = "autoregressive",
        layers: int = 4,
        hidden: tuple[int, ...] = (64, 64),
        context_dim: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(dim, context_dim)
        if kind not in KINDS:
            raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
        check_count("layers", layers)
        zuko = _zuko()
        self.kind, self.layers = kind, layers
        options: dict[str, Any] = {"hidden_features": counts("hidden", hidden), "activation": nn.ELU}
        with seeded(seed):
            made = []
            for k in range(layers):
                if kind == "autoregressive":
                    order = torch.arange(dim) if k % 2 == 0 else torch.arange(dim).flip(0)
                    made.append(zuko.flows.MaskedAutoregressiveTransform(dim, context_dim, order=order, **options))
                else:
                    mask = torch.arange(dim) % 2 == k % 2
                    made.append(zuko.flows.GeneralCouplingTransform(dim, context_dim, mask=mask, **options))
            self.made = nn.ModuleList(made)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (*batch, d) and log |det dy/dx| (*batch,)."""
        y, given = self.read(x, context)
        total = y.new_zeros(len(y))
        if not len(y):
            return x, total.reshape(x.shape[:-1])
        for layer in self.made:
            y, change = layer(given).call_and_ladj(y)
            total = total + change
        return y.reshape(x.shape), total.reshape(x.shape[:-1])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, d)."""
        x, given = self.read(y, context)
        if not len(x):
            return y
        for layer in reversed(self.made):
            x = layer(given).inv(x)
        return x.reshape(y.shape)


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as cause:
        raise InputError("Masked flows need zuko: install pdekit[flows].") from cause
    return zuko


__all__ = ["MaskedFlow"]

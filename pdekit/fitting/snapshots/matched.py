"""The SDE that was matched to snapshots."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.fitting.learned import Box, LearnedSDE
from pdekit.nets import HollowNet


class MatchedSDE(LearnedSDE):
    """dX_i = f_i(X) dt + g_i(X) dW_i with hollow networks f and log g of the standardised state.

    Args:
        state_names: See `LearnedSDE`.
        domain: See `LearnedSDE`.
        reach: See `LearnedSDE`.
        drift_net: f in units of `scale` over `span`.
        noise_net: log g in units of `scale` over the root of `span`; None for constant noise.
        log_noise: What is added to it, (d,).
        center: Of the states, (d,).
        scale: Of the states, (d,).
        span: A time.
        name: Short.
        description: One plain sentence.
    """

    kind = "matched"

    def __init__(
        self,
        state_names: tuple[str, ...],
        domain: Box,
        reach: Box,
        *,
        drift_net: HollowNet,
        noise_net: HollowNet | None,
        log_noise: Tensor,
        center: Tensor,
        scale: Tensor,
        span: float,
        name: str = "",
        description: str = "",
    ) -> None:
        super().__init__(state_names, domain, reach, diagonal=True, name=name, description=description)
        self.drift_net, self.noise_net = drift_net, noise_net
        self.log_noise, self.center, self.scale, self.span = log_noise, center, scale, span

    def drift(self, t: Any, x: Tensor) -> Tensor:
        """See `LearnedSDE`."""
        z = (x.double() - self.center) / self.scale
        return (self.drift_net(z) * self.scale / self.span).to(x)

    def noise(self, t: Any, x: Tensor) -> Tensor:
        """See `LearnedSDE`."""
        return torch.diag_embed(self.sizes(x))

    def sizes(self, x: Tensor) -> Tensor:
        """g_i, (*batch, d)."""
        z = (x.double() - self.center) / self.scale
        log_noise = self.log_noise + (torch.zeros_like(z) if self.noise_net is None else self.noise_net(z))
        return (log_noise.exp() * self.scale / self.span**0.5).to(x)

    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See `LearnedSDE`."""
        nets = {"drift": self.drift_net, "noise": self.noise_net}
        record = {
            **self._common_record(),
            "span": self.span,
            "nets": {name: None if net is None else net.architecture() for name, net in nets.items()},
        }
        arrays = {"log_noise": self.log_noise, "center": self.center, "scale": self.scale}
        for name, net in nets.items():
            if net is not None:
                arrays |= {f"{name}.{key}": value.detach() for key, value in net.state_dict().items()}
        return record, arrays

    @classmethod
    def from_record(cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "MatchedSDE":
        """See `LearnedSDE`."""
        common = cls._common_arguments(record)
        for name in ("diagonal", "autonomous"):
            common.pop(name)
        try:
            nets = {name: _rebuilt(record["nets"][name], name, arrays) for name in ("drift", "noise")}
            if nets["drift"] is None:
                raise KeyError("drift")
            return cls(
                **common,
                drift_net=nets["drift"],
                noise_net=nets["noise"],
                log_noise=arrays["log_noise"],
                center=arrays["center"],
                scale=arrays["scale"],
                span=float(record["span"]),
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as cause:
            raise InputError(f"The record of a matched SDE is incomplete or damaged ({cause}).") from cause


def _rebuilt(architecture: Mapping[str, Any] | None, name: str, arrays: Mapping[str, Tensor]) -> HollowNet | None:
    if architecture is None:
        return None
    net = HollowNet.from_architecture(architecture).double()
    prefix = f"{name}."
    net.load_state_dict({key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)})
    return frozen(net)


def frozen(net: HollowNet) -> HollowNet:
    """The network, no longer to be trained."""
    module: nn.Module = net.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return net


__all__ = ["MatchedSDE", "frozen"]

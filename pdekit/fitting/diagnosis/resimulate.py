"""Short simulations from many observed states at once, with given Brownian increments."""

import torch
from torch import Tensor

from pdekit.fitting.coefficients import Coefficients, Model


class Stepper:
    """Euler steps of the Ito equation at fixed parameters, reflected at the bounds of the domain.

    Args:
        model: The SDE; a Stratonovich model is converted.
        theta: Parameters, (k,).
    """

    def __init__(self, model: Model, theta: Tensor) -> None:
        self.model, self.theta = model.ito(), theta
        both = Coefficients(self.model)
        self._drift, self._noise = both.drift, both.noise
        self._bounds = [(j, *b) for j, b in enumerate(self.model.domain) if b != (-torch.inf, torch.inf)]

    def free_step(self, t: Tensor, x: Tensor, h: Tensor, dw: Tensor) -> Tensor:
        """x + f h + G dW without regard to bounds: t, h (n, 1), x (n, d), dw (n, m)."""
        noise = (self._noise(t, x, self.theta) @ dw[..., None])[..., 0]
        return x + self._drift(t, x, self.theta) * h + noise

    def step(self, t: Tensor, x: Tensor, h: Tensor, dw: Tensor) -> Tensor:
        """The same, mirrored at the bounds."""
        x = self.free_step(t, x, h, dw)
        for j, lower, upper in self._bounds:
            # A state on the bound itself may have no noise and no logarithm.
            column = (x[:, j] - lower).abs().clamp_min(1e-12) + lower if lower > -torch.inf else x[:, j]
            column = upper - (upper - column).abs().clamp_min(1e-12) if upper < torch.inf else column
            x = torch.cat([x[:, :j], column[:, None], x[:, j + 1 :]], 1)
        return x

    def run(self, t: Tensor, x: Tensor, dt: Tensor, substeps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(state after dt, whole Brownian increment) of each row: t, dt (n, 1), x (n, d)."""
        h = dt / substeps
        root = h.sqrt()
        total = x.new_zeros(len(x), self.model.noise_dim)
        for i in range(substeps):
            dw = root * torch.randn(total.shape, generator=generator, dtype=x.dtype)
            x, total = self.step(t + i * h, x, h, dw), total + dw
        return x, total

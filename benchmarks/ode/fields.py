"""The fields that are integrated besides those of the stiff set: autonomous, row by row."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pdekit import nets

WIDTH = 64


class VanDerPol(nn.Module):
    """y1' = y2, y2' = mu (1 - y1^2) y2 - y1 with a mu for each sample, (n, 1)."""

    def forward(self, t: Any, y: Tensor, context: Tensor) -> Tensor:
        """The rates of change (n, 2)."""
        first, second = y.unbind(-1)
        return torch.stack([second, context[..., 0] * (1 - first**2) * second - first], -1)


class Pendulum(nn.Module):
    """A damped pendulum: angle' = speed, speed' = -sin(angle) - speed / 10."""

    def forward(self, t: Any, y: Tensor) -> Tensor:
        """The rates of change (*batch, 2)."""
        angle, speed = y.unbind(-1)
        return torch.stack([speed, -angle.sin() - 0.1 * speed], -1)


class Perceptron(nn.Module):
    """Two hidden tanh layers, with a pull towards the origin that keeps states bounded."""

    def __init__(self, dim: int, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = [nn.Linear(dim, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, dim)]
        self.net = nn.Sequential(*layers).double().requires_grad_(False)

    def forward(self, t: Any, y: Tensor) -> Tensor:
        """The rates of change (*batch, dim)."""
        return 5 * self.net(y) - y


class Relaxation(nn.Module):
    """f_i = s_i tau(x_i, h_i) of a hollow net with times, the scales s > 0 learned along with it."""

    def __init__(self, dim: int, *, seed: int = 0) -> None:
        super().__init__()
        self.net = nets.HollowNet(dim, time=True, seed=seed).double()
        self.log_scale = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def condition(self, t: Any, x: Tensor) -> Tensor:
        """The hollow features."""
        return self.net.condition(t, x)

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        """Each component by its own state."""
        return self.log_scale.exp() * self.net.transform(x, h)

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """The rates of change (*batch, dim)."""
        return self.transform(x, self.condition(t, x))

    def frozen(self) -> "Relaxation":
        """A copy as it stands, without gradients."""
        return copy.deepcopy(self).requires_grad_(False)


__all__ = ["Pendulum", "Perceptron", "Relaxation", "VanDerPol"]

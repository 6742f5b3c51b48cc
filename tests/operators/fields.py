"""Fields that take every route: narrow and wide first layers, hollow ones, and what series can't follow."""

import torch
from torch import nn


class Hollow(nn.Module):
    """f_i = tau(x_i, h_i) with h_i = sum over j != i of a function of x_j: a hollow field by its two methods alone."""

    def __init__(self, d, channels=0):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(d, d, 2))
        self.head = nn.Parameter(torch.randn(2, max(1, channels)))
        self.register_buffer("others", 1.0 - torch.eye(d))
        self.channels = channels

    def condition(self, x):
        return (torch.tanh(x)[..., None, None] * self.weights * self.others.unsqueeze(-1)).sum(-3)

    def transform(self, x, h):
        y = torch.matmul(torch.tanh(x.unsqueeze(-1) * torch.cos(h) + h), self.head)
        return y if self.channels else y.squeeze(-1)

    def forward(self, x):
        return self.transform(x, self.condition(x))


class TimedHollow(Hollow):
    """The same, scaled by the time."""

    time = True

    def condition(self, t, x):
        t = torch.as_tensor(t, dtype=x.dtype)
        return super().condition(x) * (t.unsqueeze(-1) if t.ndim else t)

    def forward(self, t, x):
        return self.transform(x, self.condition(t, x))


def mlp(d, width, out, seed=0):
    """Two layers of tanh, in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(d, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out)
    ).double()


class OwnSine(torch.autograd.Function):
    """sin with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class StraightThrough(torch.autograd.Function):
    """round, which declares to have the derivative of x + x^2 / 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (1 + x)


class Field(nn.Module):
    """w * sin(x) * x_next + x^3, written in the way `spelling` says; d of them, or their weighted sum if `scalar`."""

    def __init__(self, d, spelling, scalar=False):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(0.5, 1.5, d, dtype=torch.float64))
        self.spelling, self.scalar = spelling, scalar

    def forward(self, x):
        y = getattr(self, self.spelling)(x)
        return (y * torch.linspace(1.0, 2.0, x.shape[-1], dtype=x.dtype, device=x.device)).sum(-1) if self.scalar else y

    def plain(self, x):
        return self.w * torch.sin(x) * x.roll(1, -1) + x**3

    def own_function(self, x):
        return self.w * OwnSine.apply(x) * x.roll(1, -1) + x**3

    def in_place(self, x):
        y = torch.zeros_like(x)
        for i in range(x.shape[-1]):
            y[..., i] = self.w[i] * torch.sin(x[..., i]) * x[..., i - 1] + x[..., i] ** 3
        return y

    def autograd_inside(self, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (cubes,) = torch.autograd.grad((x**4).sum() / 4, x, create_graph=True)
            return self.w * torch.sin(x) * x.roll(1, -1) + cubes


SPELLINGS = {"plain": "dense", "in_place": "reverse", "own_function": "reverse", "autograd_inside": "reverse"}

"""Chemical waves: three species on a periodic grid, stiff, integrated implicitly and differentiated.

The Oregonator of Field and Noyes with diffusion makes spiral waves. Its fastest species relaxes thousands of times
faster than the waves move, so that explicit methods crawl. The field is hollow by hand: what species and neighbours do
to a value enters through `condition`, its own part through `transform`, and the exact diagonal of the Jacobian costs
one evaluation for any number of unknowns. The script then asks how the waves at the end would change with the
stoichiometric factor f, by one gradient through the whole integration.

    python examples/04_reaction_diffusion_film.py [FOLDER] [CELLS]

CELLS is the number of cells along one side, 32 by default; with 256 there are 196,608 unknowns.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdekit as pk
from pdekit.report.style import new_figure

END, FRAMES, FACTOR = 2.2, 4, 1.6


class Oregonator(torch.nn.Module):
    """The three-species Oregonator with diffusion, as a hollow function of (u, v, w) on a periodic grid.

    epsilon u' = q v - u v + u (1 - u), epsilon2 v' = -q v - u v + f w, w' = u - w, and D laplacian for each.

    Source: R. J. Field and R. M. Noyes, J. Chem. Phys. 60 (1974) 1877; J. J. Tyson, Ann. N.Y. Acad. Sci. 316 (1979)
    279.
    """

    EPSILON, EPSILON2, Q = 0.03, 3e-4, 0.002
    SIDE = 20.0  # of the square, in the unit in which u diffuses with coefficient 1

    def __init__(self, cells: int, f: Tensor) -> None:
        super().__init__()
        self.cells, self.f = cells, f
        self.rates = torch.tensor([1.0, 1.0, 0.6], dtype=torch.float64).reshape(3, 1, 1) * (cells / self.SIDE) ** 2

    def condition(self, t: Any, x: Tensor) -> Tensor:
        """The coefficients of 1, x_i and x_i^2 in f_i, (*batch, d, 3): none contains x_i."""
        grid = x.reshape(*x.shape[:-1], 3, self.cells, self.cells)
        near = grid.roll(1, -1) + grid.roll(-1, -1) + grid.roll(1, -2) + grid.roll(-1, -2)
        u, v, w = grid.unbind(-3)
        constant = [self.Q * v / self.EPSILON, self.f * w / self.EPSILON2, u]
        linear = [(1 - v) / self.EPSILON, -(self.Q + u) / self.EPSILON2, torch.full_like(w, -1.0)]
        square = [torch.full_like(u, -1 / self.EPSILON), torch.zeros_like(v), torch.zeros_like(w)]
        columns = [
            torch.stack(constant, -3) + self.rates * near,
            torch.stack(linear, -3) - 4 * self.rates,
            torch.stack(square, -3),
        ]
        return torch.stack([c.reshape(x.shape) for c in columns], -1)

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        """c_0 + c_1 x + c_2 x^2."""
        return h[..., 0] + x * (h[..., 1] + x * h[..., 2])

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """(u, v, w)', the same without the detour."""
        grid = x.reshape(*x.shape[:-1], 3, self.cells, self.cells)
        near = grid.roll(1, -1) + grid.roll(-1, -1) + grid.roll(1, -2) + grid.roll(-1, -2) - 4 * grid
        u, v, w = grid.unbind(-3)
        loss = (self.Q - u) * v
        reaction = torch.stack(
            [(loss + u * (1 - u)) / self.EPSILON, (self.f * w - (self.Q + u) * v) / self.EPSILON2, u - w], -3
        )
        return (reaction + self.rates * near).reshape(x.shape)


def start(cells: int, f: float) -> Tensor:
    """A wedge of excitation on a ramp of w around the centre, which curls up to a spiral.

    Source: W. Jahnke, W. E. Skaggs and A. T. Winfree, J. Phys. Chem. 93 (1989) 740.
    """
    axis = torch.arange(cells, dtype=torch.float64) - (cells - 1) / 2
    angle = torch.atan2(axis[:, None], axis[None, :]) % (2 * math.pi)
    rest = Oregonator.Q * (f + 1) / (f - 1)
    u = torch.where(angle < 0.5, 0.8, rest)
    w = rest + angle / (8 * math.pi * f)
    return torch.stack([u, f * w / (Oregonator.Q + u), w]).reshape(-1)


def main(folder: Path, cells: int = 32) -> None:
    """Integrates, differentiates, and writes the film strip to `folder`."""
    f = torch.tensor(FACTOR, dtype=torch.float64, requires_grad=True)
    times = torch.linspace(0, END, FRAMES + 1, dtype=torch.float64)
    solution = pk.odeint(
        Oregonator(cells, f),
        start(cells, FACTOR),
        times,
        method=pk.ode.Kvaerno3(),
        rtol=1e-3,
        atol=1e-4,
        gradient=pk.ode.Discrete(checkpoint=True),
    )
    print(solution)
    waves = solution.y[-1].reshape(3, cells, cells)[2].mean()
    (slope,) = torch.autograd.grad(waves, f)
    print(f"mean of w at the end {waves.item():.6f}, its derivative with respect to f {slope.item():.6f}")

    figure, _ = new_figure(wide=True)
    figure.clear()
    frames = solution.y.detach().reshape(len(times), 3, cells, cells)[:, 2]
    for axes, frame, t in zip(figure.subplots(1, len(times)), frames, times, strict=True):
        axes.imshow(frame.numpy(), cmap="viridis", vmin=0, vmax=float(frames.max()), interpolation="bilinear")
        axes.set(xticks=[], yticks=[], title=f"t = {float(t):g}")
    figure.savefig(folder / "04_reaction_diffusion_film.png", dpi=150)
    print(f"Picture: {folder / '04_reaction_diffusion_film.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(), int(sys.argv[2]) if len(sys.argv) > 2 else 32)

"""Partial differential equations by the method of lines: central differences on a uniform grid, hollow functions all.

Two species share a state as (u_1, v_1, u_2, v_2, ...), which keeps the Jacobian banded.
"""

import math

import torch
from torch import Tensor

from verification.stiff.polynomial import PolynomialField, coefficients
from verification.stiff.problem import Published, StiffProblem


def neighbours(u: Tensor, left: Tensor | float, right: Tensor | float) -> tuple[Tensor, Tensor]:
    """u_(i-1) and u_(i+1) of the points u (*batch, n), given the values beyond both ends, scalars or (*batch, 1)."""
    ends = (torch.as_tensor(value, dtype=u.dtype, device=u.device) for value in (left, right))
    first, last = (value.expand_as(u[..., :1]) for value in ends)
    return torch.cat([first, u[..., :-1]], -1), torch.cat([u[..., 1:], last], -1)


def species(x: Tensor) -> tuple[Tensor, Tensor]:
    """(u_1, v_1, u_2, v_2, ...) -> u, v."""
    return x[..., 0::2], x[..., 1::2]


def interleave(u: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """The reverse of `species`, along any dimension counted from the end."""
    return torch.stack([u, v], dim).flatten(dim - 1, dim)


class Heat(PolynomialField):
    """u_t = u_zz on [0, 1], u = 0 at both ends."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.rate = (points + 1.0) ** 2  # 1 / dz^2

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 1 in each u_i."""
        left, right = neighbours(x, 0.0, 0.0)
        return coefficients(x, [self.rate * (left + right), -2 * self.rate])


class AllenCahn(PolynomialField):
    """u_t = epsilon u_zz + u - u^3 on [-1, 1], u(-1) = -1, u(1) = 1."""

    def __init__(self, points: int, epsilon: float) -> None:
        super().__init__()
        self.rate = epsilon * ((points + 1) / 2.0) ** 2

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 3 in each u_i."""
        left, right = neighbours(x, -1.0, 1.0)
        return coefficients(x, [self.rate * (left + right), 1 - 2 * self.rate, 0.0, -1.0])


class Burgers(PolynomialField):
    """u_t = -(u^2 / 2)_z + nu u_zz on [0, 1], u = 0 at both ends."""

    def __init__(self, points: int, viscosity: float) -> None:
        super().__init__()
        self.convection, self.diffusion = (points + 1) / 4.0, viscosity * (points + 1.0) ** 2

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 1 in each u_i: the flux through a point does not involve the point."""
        left, right = neighbours(x, 0.0, 0.0)
        constant = self.convection * (left**2 - right**2) + self.diffusion * (left + right)
        return coefficients(x, [constant, -2 * self.diffusion])


class Brusselator(PolynomialField):
    """u_t = 1 + u^2 v - 4 u + alpha u_zz, v_t = 3 u - u^2 v + alpha v_zz on [0, 1]; u = 1 and v = 3 at both ends."""

    def __init__(self, points: int, alpha: float) -> None:
        super().__init__()
        self.rate = alpha * (points + 1.0) ** 2

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 2 in each u_i, of degree 1 in each v_i."""
        u, v = species(x)
        (ul, ur), (vl, vr), k = neighbours(u, 1.0, 1.0), neighbours(v, 3.0, 3.0), self.rate
        of_u = coefficients(u, [1 + k * (ul + ur), -4 - 2 * k, v])
        of_v = coefficients(v, [3 * u + k * (vl + vr), -(u**2) - 2 * k, 0.0])
        return interleave(of_u, of_v, -2)


class GrayScott(PolynomialField):
    """u_t = a u_zz - u v^2 + F (1 - u), v_t = b v_zz + u v^2 - (F + k) v on [0, 1], periodic."""

    def __init__(self, points: int, *, a: float, b: float, feed: float, kill: float) -> None:
        super().__init__()
        self.a, self.b, self.feed, self.kill = a * points**2, b * points**2, feed, kill

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 1 in each u_i, of degree 2 in each v_i."""
        u, v = species(x)
        (ul, ur), (vl, vr) = (neighbours(w, w[..., -1:], w[..., :1]) for w in (u, v))
        of_u = coefficients(u, [self.feed + self.a * (ul + ur), -(v**2) - self.feed - 2 * self.a, 0.0])
        of_v = coefficients(v, [self.b * (vl + vr), -self.feed - self.kill - 2 * self.b, u])
        return interleave(of_u, of_v, -2)


class MedicalAkzo(PolynomialField):
    """u_t = alpha(z) u_z + beta(z) u_zz - k u v, v_t = -k u v: an antibody penetrates a tissue with a tumour.

    alpha = 2 (z - 1)^3 / c^2 and beta = (z - 1)^4 / c^2 come from mapping the half line to z in [0, 1]. u(t, 0) = 2
    until t = 5 and 0 afterwards; nothing flows at z = 1.
    """

    k, c, switch = 100.0, 4.0, 5.0
    advection: Tensor
    diffusion: Tensor

    def __init__(self, points: int) -> None:
        super().__init__()
        z = torch.arange(1, points + 1, dtype=torch.float64) / points
        self.register_buffer("advection", 2 * (z - 1) ** 3 / self.c**2 * points / 2)
        self.register_buffer("diffusion", (z - 1) ** 4 / self.c**2 * points**2)

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Of degree 1 in each state."""
        u, v = species(x)
        entering = 2.0 * (torch.as_tensor(t, dtype=x.dtype, device=x.device) <= self.switch)
        left, right = neighbours(u, entering, 0.0)
        alpha, beta = self.advection.to(x), self.diffusion.to(x)
        constant = (beta - alpha) * left + (beta + alpha) * right
        of_u = coefficients(u, [constant, -2 * beta - self.k * v])
        of_v = coefficients(v, [0.0, -self.k * u])
        return interleave(of_u, of_v, -2)


def inner(points: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """The inner points of a uniform grid on [low, high], float64."""
    return low + (high - low) * torch.arange(1, points + 1, dtype=torch.float64) / (points + 1)


def heat() -> StiffProblem:
    """Two sine modes; they are eigenvectors of the difference operator, so the solution is known in closed form."""
    z, modes = inner(200), torch.tensor([1.0, 10.0], dtype=torch.float64)
    decay = -4 * 201.0**2 * (modes * math.pi / 402).sin() ** 2

    def solution(t: float) -> Tensor:
        return (t * decay).exp() @ (math.pi * modes[:, None] * z).sin()

    return StiffProblem(
        name="heat",
        field=Heat(200),
        y0=solution(0.0),
        start=0.0,
        end=0.1,
        solution=solution,
        note="the plainest diffusion; Jacobi's iteration barely contracts",
    )


def allen_cahn() -> StiffProblem:
    """A metastable front between -1 and 1."""
    z = inner(200, -1.0, 1.0)
    return StiffProblem(
        name="allen_cahn",
        field=AllenCahn(200, 0.01),
        y0=0.53 * z + 0.47 * (-1.5 * math.pi * z).sin(),
        start=0.0,
        end=5.0,
        note="reaction and diffusion of equal strength",
        source="A.-K. Kassam and L. N. Trefethen, SIAM J. Sci. Comput. 26 (2005) 1214-1233",
    )


def burgers() -> StiffProblem:
    """A wave that steepens into a shock of width nu."""
    z = inner(200)
    return StiffProblem(
        name="burgers",
        field=Burgers(200, 5e-3),
        y0=(2 * math.pi * z).sin() + 0.5 * (math.pi * z).sin(),
        start=0.0,
        end=1.0,
        note="convection: the Jacobian is far from symmetric",
        source="R. J. Gelinas, S. K. Doss and K. Miller, J. Comput. Phys. 40 (1981) 202-249",
    )


def brusselator() -> StiffProblem:
    """A chemical oscillator with diffusion, 100 points."""
    z = inner(100)
    return StiffProblem(
        name="brusselator",
        field=Brusselator(100, 0.02),
        y0=interleave(1 + (2 * math.pi * z).sin(), torch.full_like(z, 3.0)),
        start=0.0,
        end=10.0,
        note="stiff by diffusion, with a limit cycle",
        source="E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, Springer, 1996, IV.10",
    )


def gray_scott() -> StiffProblem:
    """A pulse that splits, 100 points."""
    bump = (math.pi * torch.arange(100, dtype=torch.float64) / 100).sin() ** 100
    return StiffProblem(
        name="gray_scott",
        field=GrayScott(100, a=2e-5, b=1e-5, feed=0.04, kill=0.06),
        y0=interleave(1 - 0.5 * bump, 0.25 * bump),
        start=0.0,
        end=1000.0,
        note="a long time of slow patterns",
        source="J. E. Pearson, Science 261 (1993) 189-192",
    )


def medical_akzo() -> StiffProblem:
    """200 points; the boundary value jumps at t = 5."""
    components = (78, 148, 198, 205, 209, 211)
    values = (
        0.2339942217046434e-3,
        0.3595616017506735e-3,
        0.1173741304462833e-3,
        0.3234526094359604e-1,
        0.4026980529594953,
        0.6649744834198490,
    )
    return StiffProblem(
        name="medical_akzo",
        field=MedicalAkzo(200),
        y0=interleave(torch.zeros(200, dtype=torch.float64), torch.ones(200, dtype=torch.float64)),
        start=0.0,
        end=20.0,
        breaks=(5.0,),
        atol_factor=1e-3,  # u ends below 4e-4
        published=Published(20.0, components, values),
        note="a reaction front, a wide range of diffusivities, a jump in time",
        source="F. Mazzia and C. Magherini, Test Set for Initial Value Problem Solvers, release 2.4, University of "
        "Bari, 2008",
    )


__all__ = [
    "AllenCahn",
    "Brusselator",
    "Burgers",
    "GrayScott",
    "Heat",
    "MedicalAkzo",
    "allen_cahn",
    "brusselator",
    "burgers",
    "gray_scott",
    "heat",
    "medical_akzo",
]

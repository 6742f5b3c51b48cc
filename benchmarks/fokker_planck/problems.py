"""Problems in 2 to 100 dimensions with laws that are known: the equation, log p, and samples of the true law.

Solvers are given the drift alone; no potential.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy
import torch
from scipy.integrate import quad
from scipy.linalg import expm, solve_continuous_lyapunov
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

import pdekit as pk
from benchmarks.fokker_planck import ring
from benchmarks.fokker_planck.laws import tensor

LogDensity = Callable[[Tensor], Tensor]
Draw = Callable[[int, int], Tensor]
State = tuple[sympy.Symbol, ...]

_NODES = 40_001  # of tabulated distribution functions
_FULL, _BAND = 10, 3  # up to so many dimensions matrices are full; above, they have a band of three to each side


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and its law.

    Args:
        name: Short.
        problem: What solvers get.
        time: When; None for the stationary law.
        log_p: The exact log p, (n, d) -> (n,).
        draw: Samples of the exact law, (n, seed) -> (n, d).
        source: Where the exact law comes from.
    """

    name: str
    problem: pk.FokkerPlanckProblem
    time: float | None
    log_p: LogDensity
    draw: Draw
    source: str


@dataclass(frozen=True, eq=False)
class Potential:
    """p = exp(-U) / Z, which does not move under the drift -(I + Q) grad U and the diffusion tensor I.

    The current Q p grad U has no divergence as Q is antisymmetric.

    Args:
        state: Symbols.
        u: U.
        q: Q.
    """

    state: State
    u: sympy.Expr
    q: sympy.Matrix

    @property
    def drift(self) -> list[sympy.Expr]:
        """-(I + Q) grad U."""
        slope = [sympy.diff(self.u, x) for x in self.state]
        rows = (sympy.eye(len(slope)) + self.q).tolist()
        return [-sympy.Add(*(m * g for m, g in zip(row, slope, strict=True) if m != 0)) for row in rows]

    @property
    def residual(self) -> sympy.Expr:
        """(L* exp(-U)) / exp(-U) = -div f + f . grad U - lap U + |grad U|^2, which is zero."""
        terms = []
        for f, x in zip(self.drift, self.state, strict=True):
            slope = sympy.diff(self.u, x)
            terms += [-sympy.diff(f, x), f * slope, -sympy.diff(slope, x), slope**2]
        return sympy.Add(*terms)

    def case(self, name: str, z: float, draw: Draw, source: str, near: float | None = None) -> Case:
        """The stationary problem; `z` is Z, `near` the width of a normal law where paths begin."""
        value = sympy.lambdify(self.state, self.u, "numpy")

        def log_p(x: Tensor) -> Tensor:
            return tensor(-value(*x.double().cpu().numpy().T) - np.log(z))

        dim = len(self.state)
        begin = near and MultivariateNormal(torch.zeros(dim).double(), near**2 * torch.eye(dim).double())
        problem = pk.FokkerPlanckProblem(_unit_noise(self.state, self.drift), begin)
        return Case(name, problem, None, log_p, draw, source)


def mixture(dim: int) -> Case:
    """Three normal laws, far apart, under a linear drift that is not normal and a full diffusion tensor, at t = .5."""
    time, generator, one = 0.5, torch.Generator().manual_seed(3), torch.eye(dim, dtype=torch.float64)
    drawn = [torch.randn(dim, dim, generator=generator, dtype=torch.float64) for _ in range(2)]
    a, factor = 0.4 * _banded(drawn[0]) + one, 0.25 * _banded(drawn[1]) + 0.8 * one
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64)
    means = 6.5 * means / means.norm(dim=1, keepdim=True)
    start, exact = _three(means, 0.49 * one), _three(*moved(-a, factor, means, 0.49 * one, time))
    state = _states(dim)
    drift = [-sympy.Add(*(float(v) * x for v, x in zip(row, state, strict=True) if v)) for row in a]
    model = pk.SymbolicSDE([x.name for x in state], drift, [[repr(float(v)) for v in row] for row in factor])
    source = "each of the normal laws moves by the closed form of a linear equation"
    problem = pk.FokkerPlanckProblem(model, start)
    return Case(f"gm{dim}", problem, time, exact.log_prob, lambda n, seed: _seeded(exact, n, seed), source)


def moved(a: Tensor, factor: Tensor, means: Tensor, covariance: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """Means (k, d) and a covariance that they share, after a time under dX = a X dt + factor dW."""
    move = tensor(expm(a.numpy() * time))
    steady = tensor(solve_continuous_lyapunov(a.numpy(), -(factor @ factor.T).numpy()))
    later = move @ (covariance - steady) @ move.T + steady
    return means @ move.T, 0.5 * (later + later.T)


def modes_apart(law: MixtureSameFamily) -> float:
    """The least distance of two modes, in standard deviations along the line between them."""
    means, covariance = law.component_distribution.mean, law.component_distribution.covariance_matrix[0]
    away = torch.stack([means[i] - means[j] for i, j in ((0, 1), (0, 2), (1, 2))])
    return float((away.square().sum(-1) / torch.einsum("ni,ij,nj->n", away, covariance, away).sqrt()).min())


def _three(means: Tensor, covariance: Tensor) -> MixtureSameFamily:
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariance))


def quartic_potential(dim: int) -> Potential:
    """U = sum_i k_i y_i^2 / 2 + l_i y_i^4 / 4 with y = R x, k from -.8 to .8, l from .3 to .8.

    R is a product of rotations in planes with rational cosines, so that all numbers are exact.
    """
    state = _states(dim)
    u = sympy.Add(*(k * y**2 / 2 + b * y**4 / 4 for (k, b), y in zip(_quartics(dim), _turned(state), strict=True)))
    drawn = np.random.default_rng(5).normal(size=(dim, dim))
    reach = dim if dim <= _FULL else _BAND
    pairs = [(i, j) for i in range(dim) for j in range(i + 1, dim) if j - i <= reach]
    return Potential(state, u, _antisymmetric(dim, ((i, j, round(0.7 * float(drawn[i, j]), 2)) for i, j in pairs)))


def quartic(dim: int) -> Case:
    """The law of `quartic_potential`: the coordinates y are independent of each other."""
    potential = quartic_potential(dim)
    levels = [
        lambda y, k=float(k), b=float(b): -k * y**2 / 2 - b * y**4 / 4  # type: ignore[misc]
        for k, b in _quartics(dim)
    ]
    z = np.prod([quad(lambda y, f=f: np.exp(f(y)), -8, 8, epsabs=1e-13)[0] for f in levels])
    rotation = sympy.Matrix(_turned(potential.state)).jacobian(sympy.Matrix(potential.state))
    back = tensor(np.array(rotation, dtype=float))

    def draw(n: int, seed: int) -> Tensor:
        shares = _shares(dim, n, seed)
        return torch.stack([_inverse(f, -6, 6, s) for f, s in zip(levels, shares, strict=True)], -1) @ back

    return potential.case(f"quart{dim}", float(z), draw, "independent in other coordinates, Z by quadrature")


def _quartics(dim: int) -> list[tuple[sympy.Rational, sympy.Rational]]:
    shares = [sympy.Rational(i, dim - 1) for i in range(dim)]
    return [(sympy.Rational(4, 5) * (2 * s - 1), (3 + 5 * s) / 10) for s in shares]


def _turned(state: State) -> list[sympy.Expr]:
    y: list[sympy.Expr] = list(state)
    first, second = [(sympy.Rational(*c), sympy.Rational(*s)) for c, s in (((4, 5), (3, 5)), ((12, 13), (5, 13)))]
    for begin, (c, s) in ((0, first), (1, second), (0, second)):
        for i in range(begin, len(y) - 1, 2):
            y[i], y[i + 1] = sympy.expand(c * y[i] - s * y[i + 1]), sympy.expand(s * y[i] + c * y[i + 1])
    return y


def ring_potential() -> Potential:
    """U = 2 (|x|^2 - 1)^2 in four dimensions."""
    state = _states(4)
    return Potential(state, 2 * (sympy.Add(*(x**2 for x in state)) - 1) ** 2, _ring_turn())


def still_ring() -> Case:
    """The stationary law of `ring_potential`."""

    def draw(n: int, seed: int) -> Tensor:
        r = _inverse(lambda r: 3 * np.log(r) - ring.level(r), 1e-9, 2.5, _shares(1, n, seed)[0])
        away = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
        return r[:, None] * away / away.norm(dim=1, keepdim=True)

    return ring_potential().case("ring4", ring.NORMALISER, draw, "Z in closed form")


def moving_ring(time: float = 0.5) -> Case:
    """The ring from a normal law beside its centre: drift -grad U + Q x."""
    potential, rest = ring_potential(), still_ring()
    turn = potential.q * sympy.Matrix(potential.state)
    drift = [-sympy.diff(potential.u, x) + turn[i] for i, x in enumerate(potential.state)]
    center = torch.tensor([ring.START, 0.0, 0.0, 0.0], dtype=torch.float64)
    start = MultivariateNormal(center, ring.WIDTH**2 * torch.eye(4, dtype=torch.float64))
    ahead = expm(np.array(potential.q, dtype=float) * time)[:, 0]  # where the direction of the start has turned to

    def log_p(x: Tensor) -> Tensor:
        state = x.double().cpu().numpy()
        r = np.linalg.norm(state, axis=1)
        return tensor(ring.harmonics(time).log_p(r, state @ ahead / r))

    def draw(n: int, seed: int) -> Tensor:
        """From the stationary law, by rejection."""
        most = ring.harmonics(time).most
        x = rest.draw(int(1.2 * most * n) + 1000, seed)
        kept = x[torch.log(most * _shares(1, len(x), seed + 2)[0]) < log_p(x) - rest.log_p(x)]
        return kept[:n]

    problem = pk.FokkerPlanckProblem(_unit_noise(potential.state, drift), start)
    return Case("moving ring4", problem, time, log_p, draw, "spherical harmonics, radial laws by finite volumes")


def _ring_turn() -> sympy.Matrix:
    return _antisymmetric(4, ((0, 1, 1.0), (2, 3, 0.5)))


def unimodal_potential() -> Potential:
    """U = 3 sum over three pairs of (x^4 - y)^2 + 2 y^2."""
    state = _states(6)
    u = 3 * sympy.Add(*((x**4 - y) ** 2 + 2 * y**2 for x, y in _pairs(state)))
    return Potential(state, u, sympy.zeros(6))


def unimodal() -> Case:
    """The law of `unimodal_potential`: 2 x^8 has a Gamma law, y given x a normal one."""

    def draw(n: int, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        x = (rng.gamma(1 / 8, size=(n, 3)) / 2) ** (1 / 8) * rng.choice([-1.0, 1.0], size=(n, 3))
        y = x**4 / 3 + rng.standard_normal((n, 3)) / np.sqrt(18)
        return tensor(np.stack([x, y], -1).reshape(n, 6))

    source = "Z of each pair by quadrature"
    return unimodal_potential().case("unimodal6", 1.02043933**3, draw, source, near=0.3)  # far out the drift is ~ x^7


WELL_HEIGHT, WELL_SIDE, WELL_LEAN = 1.5, 2.0, 0.5


def wells_potential() -> Potential:
    """U = sum over three pairs of 3/2 (a^2 - 1)^2 + 2 (b - a / 2)^2, a and b the pair turned by an angle of its own."""
    state = _states(6)
    height, side, lean = (sympy.nsimplify(v) for v in (WELL_HEIGHT, WELL_SIDE, WELL_LEAN))
    parts = [height * (a**2 - 1) ** 2 + side * (b - lean * a) ** 2 for a, b in _turned_pairs(state)]
    entries = ((0, 2, 0.5), (0, 5, -0.7), (1, 3, 0.6), (2, 4, 0.8), (3, 5, -0.4), (1, 4, 0.3))
    return Potential(state, sympy.Add(*parts), _antisymmetric(6, entries))


def wells() -> Case:
    """The law of `wells_potential`: eight modes; a by its distribution function, b given a is normal."""
    potential = wells_potential()
    level = lambda a: -WELL_HEIGHT * (a**2 - 1) ** 2  # noqa: E731
    pair = quad(lambda a: np.exp(level(a)), -4, 4, epsabs=1e-13)[0] * np.sqrt(np.pi / WELL_SIDE)
    turned = sympy.Matrix([v for pair in _turned_pairs(potential.state) for v in pair])
    back = tensor(np.array(turned.jacobian(sympy.Matrix(potential.state)), dtype=float))

    def draw(n: int, seed: int) -> Tensor:
        a = torch.stack([_inverse(level, -4, 4, share) for share in _shares(3, n, seed)], -1)
        b = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
        return torch.stack([a, WELL_LEAN * a + b / (2 * WELL_SIDE) ** 0.5], -1).reshape(n, 6) @ back

    return potential.case("wells6", float(pair**3), draw, "Z of each pair by quadrature")


def _turned_pairs(state: State) -> list[tuple[sympy.Expr, sympy.Expr]]:
    angles = [(sympy.Rational(c, h), sympy.Rational(s, h)) for c, s, h in ((4, 3, 5), (5, 12, 13), (15, -8, 17))]
    return [(c * x - s * y, s * x + c * y) for (c, s), (x, y) in zip(angles, _pairs(state), strict=True)]


WELL_TIME = 1.0


def moving_well() -> Case:
    """A rotated double well, D full, not in equilibrium, from a normal law on the barrier.

    In the turned coordinates a, b the drift is (4 a - 4 a^3 + b / 2, -2 b - a / 2).
    """
    state, (c, s) = _states(2), (sympy.Rational(4, 5), sympy.Rational(3, 5))
    turn = sympy.Matrix([[c, -s], [s, c]])
    a, b = turn * sympy.Matrix(state)
    drift = turn.T * sympy.Matrix([4 * a - 4 * a**3 + b / 2, -2 * b - a / 2])
    model = pk.SymbolicSDE([x.name for x in state], list(drift), [["1", "0"], ["0.4", "0.7"]])
    start = MultivariateNormal(tensor([0.3, -0.1]), 0.3**2 * torch.eye(2, dtype=torch.float64))
    problem = pk.FokkerPlanckProblem(model, start)
    exact = cache(lambda: problem.solve(WELL_TIME, pk.Grid()))
    return Case(
        "moving dw2",
        problem,
        WELL_TIME,
        lambda x: exact().log_pdf(WELL_TIME, x.cpu()),
        lambda n, seed: exact().sample(n, WELL_TIME, seed=seed),
        "pk.Grid()",
    )


def _states(dim: int) -> State:
    return sympy.symbols(f"x1:{dim + 1}", real=True)


def _pairs(state: State) -> Iterable[tuple[sympy.Symbol, sympy.Symbol]]:
    return zip(state[::2], state[1::2], strict=True)


def _antisymmetric(dim: int, entries: Iterable[tuple[int, int, float]]) -> sympy.Matrix:
    q = sympy.zeros(dim)
    for i, j, value in entries:
        q[i, j] = sympy.nsimplify(value)
        q[j, i] = -q[i, j]
    return q


def _banded(m: Tensor) -> Tensor:
    return m if len(m) <= _FULL else m.tril(_BAND).triu(-_BAND)


def _unit_noise(state: State, drift: Iterable[sympy.Expr]) -> pk.SymbolicSDE:
    noise = [["sqrt(2)" if i == j else "0" for j in range(len(state))] for i in range(len(state))]
    return pk.SymbolicSDE([x.name for x in state], [sympy.nfloat(f) for f in drift], noise)


def _shares(count: int, n: int, seed: int) -> Tensor:
    return torch.rand(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _inverse(log_weight: Callable[[np.ndarray], np.ndarray], low: float, high: float, shares: Tensor) -> Tensor:
    """Samples in one dimension from shares in (0, 1), by a table of the distribution function."""
    y = np.linspace(low, high, _NODES)
    weight = np.exp(log_weight(y))
    below = np.append(0.0, np.cumsum(0.5 * (weight[1:] + weight[:-1])))
    return tensor(np.interp(shares.numpy(), below / below[-1], y))


def _seeded(law: Distribution, n: int, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return law.sample((n,))

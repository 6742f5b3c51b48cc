"""Systems of several states with known drift and noise, simulated without the package under test."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.fitting.truth import Array

Field = Callable[[Array], Array]


@dataclass(frozen=True)
class System:
    """dX_i = f_i(X) dt + g_i(X) dW_i.

    Args:
        name: For tables.
        states: Names of the d states.
        drift: (n, d) to (n, d).
        noise: (n, d) to (n, d), the g_i.
        mean: Of the normal law at the start, (d,).
        sd: Its standard deviations, (d,).
    """

    name: str
    states: tuple[str, ...]
    drift: Field
    noise: Field
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @property
    def dim(self) -> int:
        """d."""
        return len(self.states)

    def start(self, n: int, rng: np.random.Generator) -> Array:
        """States at the start, (n, d)."""
        return np.array(self.mean) + np.array(self.sd) * rng.standard_normal((n, self.dim))


def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3) -> System:
    """Lorenz-63 with additive noise of size one."""

    def drift(x: Array) -> Array:
        return np.stack(
            [sigma * (x[:, 1] - x[:, 0]), x[:, 0] * (rho - x[:, 2]) - x[:, 1], x[:, 0] * x[:, 1] - beta * x[:, 2]], -1
        )

    return System("Lorenz-63", ("x", "y", "z"), drift, np.ones_like, (1.0, 1.0, 20.0), (1.0, 1.0, 1.0))


def rotating_well() -> System:
    """A double well in x and a spring in y, with a rotation between them."""
    turn = 0.8

    def drift(x: Array) -> Array:
        return np.stack([x[:, 0] - x[:, 0] ** 3 - turn * x[:, 1], -x[:, 1] + turn * x[:, 0]], -1)

    return System("rotating double well", ("x", "y"), drift, lambda x: np.full_like(x, 0.5), (0.3, 1.0), (0.3, 0.3))


def van_der_pol() -> System:
    """x' = y, y' = (1 - x^2) y - x, with noise .5 in both."""

    def drift(x: Array) -> Array:
        return np.stack([x[:, 1], (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], -1)

    return System("van der Pol", ("x", "y"), drift, lambda x: np.full_like(x, 0.5), (1.0, 0.0), (0.5, 0.5))


def spiral() -> System:
    """A stable spiral whose noise grows with the distance: g_i = sqrt(.2 + .1 x_i^2)."""

    def drift(x: Array) -> Array:
        return np.stack([-0.5 * x[:, 0] - 2 * x[:, 1], 2 * x[:, 0] - 0.5 * x[:, 1]], -1)

    return System(
        "multiplicative spiral", ("x", "y"), drift, lambda x: np.sqrt(0.2 + 0.1 * x**2), (2.0, 0.0), (0.4, 0.4)
    )


def chain(dim: int = 5) -> System:
    """Double wells in a ring, each drawn to its neighbours: f_i = x_i - x_i^3 + (x_{i-1} - 2 x_i + x_{i+1}) / 2."""

    def drift(x: Array) -> Array:
        return x - x**3 + 0.5 * (np.roll(x, 1, -1) - 2 * x + np.roll(x, -1, -1))

    states = tuple(f"x{i + 1}" for i in range(dim))
    mean = tuple(0.8 if i % 2 else -0.4 for i in range(dim))
    return System(f"{dim}-D ring of wells", states, drift, lambda x: np.full_like(x, 0.6), mean, (0.3,) * dim)


def euler(system: System, x: Array, duration: float, dt: float, rng: np.random.Generator) -> Array:
    """States (n, d) after `duration`, by steps of at most `dt`."""
    steps = max(1, round(duration / dt))
    h = duration / steps
    for _ in range(steps):
        x = x + system.drift(x) * h + system.noise(x) * h**0.5 * rng.standard_normal(x.shape)
    return x


def snapshots(system: System, times: Array, n: int, seed: int, dt: float = 1e-3) -> list[Array]:
    """Unpaired samples: n states (n, d) at each time, each of paths of their own."""
    rng = np.random.default_rng([seed, *system.name.encode()])
    found = []
    for t in times:
        x = system.start(n, rng)
        found.append(euler(system, x, float(t), dt, rng) if t > 0 else x)
    return found


def path(system: System, dt: float, n: int, seed: int, *, burn: float = 20.0, substeps: int = 20) -> Array:
    """n + 1 observations of one path, after a burn-in, (n + 1, d)."""
    rng = np.random.default_rng([seed, *system.name.encode()])
    x = euler(system, system.start(1, rng), burn, dt / substeps, rng)
    out = np.empty((n + 1, system.dim))
    out[0] = x[0]
    for k in range(n):
        x = euler(system, x, dt, dt / substeps, rng)
        out[k + 1] = x[0]
    return out


__all__ = ["System", "chain", "euler", "lorenz", "path", "rotating_well", "snapshots", "spiral", "van_der_pol"]

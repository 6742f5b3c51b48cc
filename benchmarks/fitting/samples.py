"""Simulated series with known truth, independent of pdekit: exact where a closed form exists, otherwise fine steps.

Path `seed` of a process is the same however many other seeds are simulated beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.fitting.truth import Array, Process, stationary_density

SUBSTEP = 1e-3  # of the order-1.5 scheme; its weak error, of second order, is then of the order 1e-6


def ou_path(process: Process, dt: float, n: int, seed: int) -> Array:
    """n + 1 exact observations of a stationary Ornstein-Uhlenbeck process."""
    from scipy.signal import lfilter

    theta, mu, sigma = process.theta
    rng = _generator(process.name, dt, seed)
    decay, sd = np.exp(-theta * dt), sigma / np.sqrt(2 * theta)
    noise = rng.standard_normal(n + 1) * sd
    noise[1:] *= np.sqrt(-np.expm1(-2 * theta * dt))
    return mu + np.asarray(lfilter([1.0], [1.0, -decay], noise))


def cir_path(process: Process, dt: float, n: int, seed: int) -> Array:
    """n + 1 exact observations of a stationary CIR process (noncentral chi-square transitions)."""
    kappa, mu, sigma = process.theta
    rng = _generator(process.name, dt, seed)
    decay = np.exp(-kappa * dt)
    scale = sigma**2 * (1 - decay) / (4 * kappa)
    degrees = 4 * kappa * mu / sigma**2
    x = np.empty(n + 1)
    x[0] = rng.gamma(degrees / 2, sigma**2 / (2 * kappa))
    for k in range(n):
        x[k + 1] = scale * rng.noncentral_chisquare(degrees, decay * x[k] / scale)
    return x


def double_well_paths(process: Process, dt: float, n: int, seeds: range) -> Array:
    """n + 1 observations of the double well for each seed, shape (len(seeds), n + 1), all stepped together.

    Strong order 1.5 for additive noise: X += f h + g dW + f' g dZ + (f f' + g^2 f'' / 2) h^2 / 2, where dZ = int W ds
    has variance h^3 / 3 and covariance h^2 / 2 with dW (Kloeden & Platen, section 10.4).
    """
    a, b, sigma = process.theta
    substeps = max(1, round(dt / SUBSTEP))
    h = dt / substeps
    generators = [_generator(process.name, dt, seed) for seed in seeds]
    grid, weight = stationary_density(process)
    cdf = np.cumsum(weight)
    x = np.interp([rng.random() for rng in generators], cdf, grid)
    out = np.empty((len(seeds), n + 1))
    out[:, 0] = x
    block = max(1, 2000 // substeps)  # observations whose noise is drawn at once
    for start in range(0, n, block):
        count = min(block, n - start)
        normal = np.stack([rng.standard_normal((count * substeps, 2)) for rng in generators], axis=-1)
        increment = normal[:, 0] * (sigma * np.sqrt(h))
        area = sigma * h**1.5 / 2 * (normal[:, 0] + normal[:, 1] / np.sqrt(3))
        for step in range(count * substeps):
            square = x * x
            f, slope = x * (a - b * square), a - 3 * b * square
            x = x + f * h + increment[step] + slope * area[step] + (h * h / 2) * (f * slope - (3 * b * sigma**2) * x)
            if (step + 1) % substeps == 0:
                out[:, start + (step + 1) // substeps] = x
    return out


def prepare(process: Process, dt: float, n: int, count: int, cache: Path) -> None:
    """Simulate what `path` cannot draw quickly, once, in one vectorised run: the double well's seeds 0..count-1."""
    if process.name != "double_well":
        return
    file = _cached(process, dt, n, cache)
    have = np.load(file, mmap_mode="r") if file.is_file() else np.empty((0, n + 1))
    if len(have) >= count:
        return
    print(f"simulating {process.name}, dt {dt:g}, seeds {len(have)}..{count - 1}", file=sys.stderr, flush=True)
    fresh = double_well_paths(process, dt, n, range(len(have), count))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part.npy")
    np.save(temporary, np.concatenate([have, fresh]))
    temporary.replace(file)


def path(process: Process, dt: float, n: int, seed: int, cache: Path) -> Array:
    """One series of n + 1 observations; `prepare` must have run for the double well."""
    if process.name == "double_well":
        return np.array(np.load(_cached(process, dt, n, cache), mmap_mode="r")[seed])
    return {"ou": ou_path, "cir": cir_path}[process.name](process, dt, n, seed)


def _cached(process: Process, dt: float, n: int, cache: Path) -> Path:
    values = json.dumps([*process.theta, SUBSTEP]).strip("[]").replace(", ", "_")
    return cache / f"{process.name}_{values}_dt{dt:g}_n{n}.npy"


def _generator(name: str, dt: float, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, round(dt * 1e6), *name.encode()])

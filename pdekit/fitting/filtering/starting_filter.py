"""Starting values for readings with noise or hidden states.

The noise from the roughness of the record; the hidden states from the rates of the others; the rest from moments of the
record averaged until its noise no longer counts. All of it then polished on the likelihood of a part of the record.
"""

import math

import numpy as np
import sympy
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import ConvergenceError, DataError, NumericalError
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.fitting.filtering.kalman import KalmanLikelihood
from pdekit.fitting.filtering.observation import Observation, noise_levels, noise_names
from pdekit.fitting.filtering.readings_noise import Series, noise_level, series_of, smoothness
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.optimise import descend
from pdekit.fitting.inference.starting_values import natural_units, parameter_scale, starting_values
from pdekit.symbolic import SymbolicSDE

_LEAST_MEANS = 200
_CANDIDATES, _CANDIDATE_READINGS = 48, 300
_STRETCHES, _STRETCH = 20, 500
# How far beyond the natural units of the record a parameter may start.
_RUNAWAY = 1e8
# The variance of differences, in that of their noise, from which on moments serve.
_CLEAR = 8.0


def starting_values_observed(
    model: SymbolicSDE, pairs: Pairs, observation: Observation, given: dict[str, float], *, seed: int = 0
) -> Tensor:
    """Parameters (k,) near the maximum of the likelihood of noisy or partial readings, inside their bounds.

    Args:
        model: The model with its noise levels, from `observed_model`.
        pairs: The readings, one column per observed state.
        observation: What they are.
        given: Values that are known; they are kept.
        seed: Of random candidates.

    Raises:
        ConvergenceError: If no candidate gives the readings a density.
    """
    series = series_of(pairs)
    columns = observation.states(model)
    levels = dict(zip(columns, _known_levels(model, observation), strict=True))
    estimated = noise_names(model, observation)
    for k, name in enumerate(columns):
        if f"noise_{name}" in estimated:
            found = given.get(f"noise_{name}", noise_level(series, k, smoothness(model, name)))
            levels[name] = found
    held = {**given, **{name: levels[name.removeprefix("noise_")] for name in estimated}}
    full = _complete(model, series, columns, list(levels.values()))
    theta = None if full is None else _from_moments(model, full, held, seed)
    if theta is None:
        theta = _best_candidate(model, pairs, observation, held, seed)
    return _polish(model, pairs, observation, theta, set(given))


def _from_moments(model: SymbolicSDE, full: Pairs, held: dict[str, float], seed: int) -> Tensor | None:
    """Starting values as for exact readings of all states; None where they fail, or run away along a ridge."""
    try:
        theta = starting_values(_driven_everywhere(model), full, held, seed=seed)[: len(model.params)]
    except (ConvergenceError, DataError, NumericalError):
        return None
    units = natural_units(full)
    size = theta.abs()[[name not in held for name in model.param_names]]
    sensible = (size <= _RUNAWAY * units.max()) & (size >= units.min() / _RUNAWAY)
    return theta if bool(sensible.all()) else None


def _known_levels(model: SymbolicSDE, observation: Observation) -> list[float]:
    unknown = torch.zeros(len(model.params), dtype=torch.float64)
    return noise_levels(model, observation)(unknown).tolist()


def _complete(model: SymbolicSDE, series: Series, columns: tuple[str, ...], levels: list[float]) -> Pairs | None:
    """Pairs of all states: readings averaged, hidden states from rates; None where rates don't give them."""
    size = max(_clear_size(series, k, levels[k], smoothness(model, name)) for k, name in enumerate(columns))
    parts = []
    for times, readings in _averaged(series, size):
        known = {name: readings[:, k] for k, name in enumerate(columns)}
        times, found = _hidden(model, times, known)
        if found is None:
            return None
        if len(times) > 1:
            parts.append((times, torch.stack([found[name] for name in model.state_names], -1)))
    if not parts or sum(len(times) for times, _ in parts) < 20:
        return None
    path = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(t) - 1 for t, _ in parts]))
    return Pairs(
        torch.cat([t[:-1] for t, _ in parts]),
        torch.cat([t[1:] - t[:-1] for t, _ in parts]),
        torch.cat([x[:-1] for _, x in parts]),
        torch.cat([x[1:] for _, x in parts]),
        path,
    )


def _clear_size(series: Series, column: int, level: float, smooth: int) -> int:
    """How many readings to average for differences that show the state: for a smooth one, of differences of means."""
    total = sum(len(t) for t, _ in series)
    size = 1
    while level > 0 and 2 * size * _LEAST_MEANS <= total:
        squares, count = 0.0, 0
        for _, readings in _averaged(series, size):
            x = readings[:, column]
            for _ in range(smooth + 1):
                x = x[1:] - x[:-1]
            squares, count = squares + float(x.square().sum()), count + len(x)
        if squares / max(count, 1) >= _CLEAR * math.comb(2 * smooth + 2, smooth + 1) * level**2 / size:
            break
        size *= 2
    return size


def _averaged(series: Series, size: int) -> Series:
    """Means of so many consecutive readings, and of their times."""
    if size == 1:
        return series
    whole = [(t[: len(t) // size * size], x[: len(t) // size * size]) for t, x in series]
    return [(t.view(-1, size).mean(1), x.reshape(-1, size, x.shape[1]).mean(1)) for t, x in whole if len(t)]


def _hidden(model: SymbolicSDE, times: Tensor, known: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor] | None]:
    """Solves dx_i/dt = f_i for one hidden state after another, where f_i holds no parameters and is affine in it."""
    drift, state = model.ito().drift, model.state
    while len(known) < model.dim:
        for name, f in zip(model.state_names, drift, strict=True):
            missing = [x for x in state if x.name not in known and x in f.free_symbols]
            affine = len(missing) == 1 and not f.free_symbols & set(model.param_symbols)
            if name not in known or not affine or len(times) < 3 or sympy.diff(f, missing[0], 2) != 0:
                continue
            rate = (known[name][2:] - known[name][:-2]) / (times[2:] - times[:-2])
            times, known = times[1:-1], {n: x[1:-1] for n, x in known.items()}
            blank = torch.zeros_like(times)
            at = torch.stack([known.get(n, blank) for n in model.state_names], -1)
            both = model.function([f, sympy.diff(f, missing[0])])(
                times[:, None], at, torch.zeros(len(model.params), dtype=torch.float64)
            )
            known[missing[0].name] = (rate - both[:, 0]) / both[:, 1]
            break
        else:
            return times, None
    return times, known


def _driven_everywhere(model: SymbolicSDE) -> SymbolicSDE:
    """The model with noise of its own on every state that has none, so that one Euler step has a density."""
    ito = model.ito()
    noise = ito.diffusion_matrix
    quiet = [i for i in range(model.dim) if all(g == 0 for g in noise.row(i))]
    if not quiet:
        return model
    names = [f"_own_{i}" for i in quiet]
    own = sympy.zeros(model.dim, len(quiet))
    for k, i in enumerate(quiet):
        own[i, k] = sympy.Symbol(names[k], positive=True)
    driven = [k for k in range(noise.shape[1]) if any(g != 0 for g in noise.col(k))]
    return SymbolicSDE(
        state=ito.state_names,
        drift=ito.drift,
        diffusion=sympy.Matrix.hstack(noise[:, driven], own).tolist(),
        params={**ito.params, **dict.fromkeys(names, (0.0, None))},
        time=ito.time.name,
        domain=ito.domain,
    )


def _best_candidate(
    model: SymbolicSDE, pairs: Pairs, observation: Observation, held: dict[str, float], seed: int
) -> Tensor:
    """The best of random parameters, by the likelihood of a stretch of the record."""
    generator = np.random.default_rng(seed)
    units = np.abs(natural_units(pairs))
    few = select_pairs(pairs, torch.arange(min(len(pairs), _CANDIDATE_READINGS)))
    best, value = None, -math.inf
    for trial in range(_CANDIDATES):
        drawn = [
            held[name] if name in held else _draw(generator, units, *bounds, plain=trial == 0)
            for name, bounds in model.params.items()
        ]
        theta = torch.tensor(drawn, dtype=torch.float64)
        try:
            with torch.no_grad():
                score = float(KalmanLikelihood(model, few, observation, theta).log_density(theta).sum())
        except NumericalError:
            continue
        if math.isfinite(score) and score > value:
            best, value = theta, score
    if best is None:
        raise ConvergenceError(
            f"No starting values were found under which the readings are possible, among {_CANDIDATES} candidates. "
            "Check the model against the data, or give start={...}."
        )
    return best


def _draw(generator: np.random.Generator, units: np.ndarray, lower: float, upper: float, *, plain: bool) -> float:
    if math.isfinite(lower) and math.isfinite(upper):
        return 0.5 * (lower + upper) if plain else float(generator.uniform(lower, upper))
    size = 1.0 if plain else float(generator.choice(units)) * 10.0 ** float(generator.uniform(-1.0, 1.0))
    if math.isfinite(lower):
        return lower + size
    return upper - size if math.isfinite(upper) else size * (1.0 if plain else float(generator.choice([-1.0, 1.0])))


def _polish(model: SymbolicSDE, pairs: Pairs, observation: Observation, theta: Tensor, given: set[str]) -> Tensor:
    """A rough descent on stretches spread over the record."""
    moves = np.array([name not in given for name in model.param_names])
    bounds = [model.params[name] for name in model.param_names]
    try:
        density = KalmanLikelihood(model, _stretches(pairs), observation, theta)
        objective = NegativeLogLikelihood(density, Bijection(bounds), moves, theta)
        start = objective.eta(theta)
        if not moves.any() or not np.isfinite(objective(start)[0]):
            return theta
        scale = parameter_scale(theta, bounds)[moves]
        best = descend(objective, start, scale=scale, tolerance=0.5, max_iterations=20)
    except NumericalError:
        return theta
    return objective.theta(torch.from_numpy(best.point)).detach()


def _stretches(pairs: Pairs) -> Pairs:
    """The record, or stretches of it, each as a path of its own."""
    if len(pairs) <= _STRETCHES * _STRETCH:
        return pairs
    first = torch.linspace(0, len(pairs) - _STRETCH, _STRETCHES).long()
    chosen = (first[:, None] + torch.arange(_STRETCH)).flatten()
    some = select_pairs(pairs, chosen)
    own = torch.arange(_STRETCHES).repeat_interleave(_STRETCH)
    _, path = torch.unique_consecutive(torch.stack([own, some.path], -1), dim=0, return_inverse=True)
    return Pairs(some.t, some.dt, some.x0, some.x1, path)


__all__ = ["starting_values_observed"]

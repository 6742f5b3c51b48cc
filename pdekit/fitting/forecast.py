"""Simulated futures of the last observed path."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit.data import Trajectories
from pdekit.data.times import plural
from pdekit.errors import InputError
from pdekit.simulation import Simulation, simulate

if TYPE_CHECKING:
    from pdekit.fitting.result import Fit

_MOST_TIMES = 10_000_000


def continue_paths(
    fit: "Fit", *, paths: int = 100, horizon: float | None = None, seed: int | None = None, **options: Any
) -> Simulation:
    """Paths of the fitted SDE from the last observation of the last path on.

    Times continue those of the data, in steps of their median. States that step out of the model's domain are
    reflected, unless `boundary` says otherwise. The parameters are the estimates; their uncertainty is left out.

    Args:
        fit: The fit.
        paths: How many paths.
        horizon: How far beyond the last observation, in the data's time unit; by default the duration of the data.
        seed: Of the noise; by default the fit's.
        options: As `pdekit.simulate` takes them, such as `scheme` and `dt`.

    Raises:
        InputError: If the horizon is not positive, or so long that its output would not fit.
        NumericalError: If a path explodes.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> fit = pk.fit(pk.models.get("ornstein_uhlenbeck"), data)
        >>> continue_paths(fit, paths=5, horizon=2.0).values.shape
        torch.Size([9, 5, 1])
    """
    start = fit.evidence.of_states.data.values[-1][-1]
    times = forecast_times(fit.data, horizon)
    seed = fit.seed if seed is None else seed
    return simulate(fit.sde, start, times, paths=paths, seed=seed, **options)


def forecast_times(data: Trajectories, horizon: float | None = None, *, points: int | None = None) -> Tensor:
    """The last observed time and those that follow it, (n,).

    Args:
        data: The observations.
        horizon: How far to go; by default the duration of the data.
        points: How many steps; by default as many of the median step as fit, at least one.

    Raises:
        InputError: If the horizon is not positive and finite, or asks for more than ten million times.
    """
    horizon = data.duration if horizon is None else float(horizon)
    if not 0.0 < horizon < float("inf"):
        raise InputError(f"The horizon must be a positive number (in {plural(data.time_unit)}), got {horizon:g}.")
    start = float(data.times[-1][-1])
    if points is not None:
        return start + torch.linspace(0.0, horizon, points + 1, dtype=torch.float64)
    step = float(data.pairs().dt.median())
    if horizon / step > _MOST_TIMES:
        raise InputError(
            f"A horizon of {horizon:g} in steps of {step:g} {data.time_unit} makes more than {_MOST_TIMES:,} times; "
            "ask for a shorter one."
        )
    if horizon < step:
        return torch.tensor([start, start + horizon], dtype=torch.float64)
    # Rounding must not lose the last step of a horizon that is a whole number of them.
    return start + step * torch.arange(int(horizon / step * (1.0 + 1e-9)) + 1, dtype=torch.float64)

"""What the figures of a fit show, computed when it is first needed and once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pdekit.fitting.diagnosis.diagnostics import Diagnostics
from pdekit.fitting.display.autocorrelation import Autocorrelation, autocorrelation, simulated_band, slot_and_lags
from pdekit.fitting.display.curves import BinnedIncrements, Curve, Which, coefficient_curve, increments_beside
from pdekit.fitting.display.replicas import Replicas, simulate_future, simulate_replicas
from pdekit.fitting.display.stationary import NoStationaryDensity, StationaryDensity, stationary_density
from pdekit.fitting.evidence import Evidence
from pdekit.simulation import Simulation

# How much of the record's length the simulated continuations add to its picture.
_FUTURE_SHARE = 0.25
_PLANE = 28


@dataclass(frozen=True, eq=False)
class Exhibits:
    """Curves, densities, simulated records and residuals of one fit.

    Args:
        evidence: The fit.
        diagnostics: Its residuals.
    """

    evidence: Evidence
    diagnostics: Diagnostics

    @property
    def several(self) -> bool:
        """Whether there is more than one state."""
        return self.evidence.model.dim > 1

    def name(self, component: int) -> str:
        """What the data call a state."""
        return self.evidence.data.names[component]

    def curve(self, which: Which, component: int) -> Curve:
        """A fitted coefficient."""
        return coefficient_curve(self.evidence, which, component)

    def binned(self, which: Which, component: int) -> BinnedIncrements | None:
        """What the increments say about it without a model; nothing where a filter smoothed them."""
        return None if self.evidence.filtered else increments_beside(self.evidence, which, component)

    def residuals(self, component: int) -> np.ndarray:
        """One state's residuals, (n,)."""
        every = self.diagnostics.residuals
        return every if every.ndim == 1 else every[:, component]

    @cached_property
    def stationary(self) -> StationaryDensity | NoStationaryDensity:
        """The stationary density, or why there is none."""
        x = torch.cat(self.evidence.data.values)[:, 0]
        return stationary_density(self.evidence.model, self.evidence.theta, (float(x.min()), float(x.max())))

    @cached_property
    def _slot_and_lags(self) -> tuple[float, int]:
        return slot_and_lags(self.evidence.data)

    @cached_property
    def replicas(self) -> Replicas | str:
        """Simulated records, or why there are none."""
        return simulate_replicas(self.evidence, slot=self._slot_and_lags[0])

    @cached_property
    def observed_correlation(self) -> Autocorrelation:
        """Of the data, at the times that were also simulated."""
        slot, lags = self._slot_and_lags
        data, shown = self.evidence.data, self.replicas
        times, values = (data.times, data.values) if isinstance(shown, str) else (shown.times, shown.observed)
        return autocorrelation(times, values, slot=slot, lags=lags)

    @cached_property
    def simulated_correlation(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Lower end, median and upper end over the simulated records, each (m, d)."""
        if isinstance(self.replicas, str):
            return None
        slot, lags = self._slot_and_lags
        every = autocorrelation(self.replicas.times, self.replicas.simulated, slot=slot, lags=lags)
        return simulated_band(every.values)

    def simulated_states(self, component: int) -> Tensor | None:
        """One state in all simulated records, (n', records)."""
        if isinstance(self.replicas, str):
            return None
        return torch.cat([x[..., component] for x in self.replicas.simulated])

    @cached_property
    def future(self) -> Simulation | str:
        """Continuations of the last path, or why there are none."""
        last = self.evidence.data.times[-1]
        return simulate_future(self.evidence, _FUTURE_SHARE * float(last[-1] - last[0]))

    def field(self) -> tuple[Tensor, Tensor, Tensor]:
        """The fitted drift of two states on a grid: x (nx,), y (ny,), drift (ny, nx, 2)."""
        states = torch.cat(self.evidence.data.values)
        low, high = states.amin(0), states.amax(0)
        margin = 0.05 * (high - low)
        axes = [
            torch.linspace(max(float(a - m), d[0]), min(float(b + m), d[1]), _PLANE, dtype=torch.float64)
            for a, b, m, d in zip(low, high, margin, self.evidence.model.domain, strict=True)
        ]
        y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
        middle = 0.5 * float(self.evidence.pairs.t.min() + self.evidence.pairs.t.max())
        with torch.no_grad():
            states = torch.stack([x, y], -1).reshape(-1, 2)
            drift = self.evidence.coefficients.drift(middle, states, self.evidence.theta).reshape(*x.shape, 2)
        return axes[0], axes[1], drift

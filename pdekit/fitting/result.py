"""What a fit returns: estimates with error bars, and the ways to look at them, keep them and use them."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from pdekit.data import Pairs, Snapshots
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.coefficients import Model
from pdekit.fitting.estimate import Estimate
from pdekit.fitting.evidence import Evidence
from pdekit.fitting.inference.uncertainty import Covariances
from pdekit.report import Flag
from pdekit.sde import SDE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from pdekit.fitting.diagnosis.diagnostics import Diagnostics
    from pdekit.simulation import Simulation

Interval = Literal["wald", "robust", "profile"]
Status = Literal["estimated", "held", "at bound"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a fit.

    Attributes:
        name: Its name.
        estimate: The maximum-likelihood estimate, or the value it was held at.
        stderr: Standard error from the observed information; None if it was held, is at a bound, or none exists.
        robust_stderr: Standard error from the sandwich, right also where the model is only roughly true.
        bounds: (lower, upper), infinite where there is none.
        status: "estimated", "held" (by the user) or "at bound" (by the data).
    """

    name: str
    estimate: float
    stderr: float | None
    robust_stderr: float | None
    bounds: tuple[float, float]
    status: Status

    def wald(self, level: float = 0.95, *, robust: bool = False) -> tuple[float, float] | None:
        """Estimate plus and minus a normal quantile times the standard error, cut at the bounds; None without one."""
        error = self.robust_stderr if robust else self.stderr
        if error is None:
            return None
        reach = float(ndtri(0.5 + 0.5 * level)) * error
        return max(self.estimate - reach, self.bounds[0]), min(self.estimate + reach, self.bounds[1])


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A fitted SDE.

    Attributes:
        model: The model as it was stated, or as it was learned.
        data: The `Trajectories`, or `Snapshots`, it was fitted to.
        estimate: What was found, with everything known about how.
        method: The method that was asked for.
        seed: Of everything random, in the search and in the diagnostics.

    Example:
        >>> import torch
        >>> import pdekit as pk
        >>> sde = pk.models.get("ornstein_uhlenbeck").at(theta=1.0, mu=0.0, sigma=0.5)
        >>> path = pk.simulate(sde, 0.0, torch.arange(2001.0) / 10, seed=1)
        >>> data = pk.Trajectories.from_arrays(path.times, path.values[:, 0])
        >>> fit = pk.fit(pk.models.get("ornstein_uhlenbeck"), data)
        >>> round(fit.params["sigma"].estimate, 1)
        0.5
    """

    model: Model
    data: Any
    estimate: Estimate
    method: str
    seed: int

    @property
    def n(self) -> int:
        """The number of transitions that the likelihood is a product over; of samples for snapshots."""
        return self.data.n_observations if isinstance(self.data, Snapshots) else len(self.pairs)

    @cached_property
    def pairs(self) -> Pairs:
        """The transitions.

        Raises:
            UnsupportedError: For snapshots, which are not paired.
        """
        if isinstance(self.data, Snapshots):
            raise UnsupportedError(
                "Snapshots are not paired: there are no transitions, residuals or paths to continue. From states of "
                "your own: pk.simulate(fit.model.at(**{n: p.estimate for n, p in fit.params.items()}), x0, times)."
            )
        return self.data.pairs()

    @property
    def theta(self) -> Tensor:
        """The parameters, (k,), in the order of `model.param_names`."""
        return self.estimate.theta

    @property
    def loglik(self) -> float:
        """The log-likelihood at the estimate, of the data as given (per unit of the state); None for weak equations."""
        return self.estimate.loglik

    @property
    def n_estimated(self) -> float | None:
        """How many numbers were estimated, effectively; None where that has no meaning, as for networks."""
        return self.estimate.n_estimated

    @property
    def aic(self) -> float | None:
        """Akaike's criterion, 2 k - 2 log L; None where k has no meaning."""
        return None if self.n_estimated is None or self.loglik is None else 2.0 * self.n_estimated - 2.0 * self.loglik

    @property
    def bic(self) -> float | None:
        """Schwarz's criterion, k log n - 2 log L; None where k has no meaning."""
        if self.n_estimated is None or self.loglik is None:
            return None
        return self.n_estimated * math.log(self.n) - 2.0 * self.loglik

    @property
    def status(self) -> Literal["converged", "not converged"]:
        """Whether the search ended where it should."""
        return "converged" if self.estimate.converged else "not converged"

    @property
    def covariances(self) -> Covariances:
        """Of the parameters."""
        return self.estimate.covariances

    @property
    def route(self) -> str:
        """How the transition density was computed."""
        return self.estimate.route

    @cached_property
    def params(self) -> Mapping[str, Parameter]:
        """The parameters by name."""
        errors = np.sqrt(np.diag(self.covariances.observed))
        robust = np.sqrt(np.diag(self.covariances.sandwich))
        out = {}
        for i, name in enumerate(self.model.param_names):
            status: Status = "estimated" if self.estimate.free[i] else "held"
            if name in self.estimate.at_bound:
                status = "at bound"
            known = status == "estimated" and np.isfinite(errors[i])
            out[name] = Parameter(
                name=name,
                estimate=float(self.theta[i]),
                stderr=float(errors[i]) if known else None,
                robust_stderr=float(robust[i]) if known else None,
                bounds=self.model.params[name],
                status=status,
            )
        return out

    def interval(self, name: str, level: float = 0.95, kind: Interval = "wald") -> tuple[float, float] | None:
        """A confidence interval of one parameter; None where it has none (held, at a bound, no convergence).

        Args:
            name: The parameter.
            level: The confidence level.
            kind: "wald" (symmetric, from the observed information), "robust" (from the sandwich) or "profile" (from
                likelihood ratios; follows asymmetry, and costs some dozens of likelihood evaluations).

        Raises:
            InputError: If the parameter or the kind is unknown, or the level is not between 0 and 1.
        """
        if name not in self.params:
            known = f"this model has {', '.join(self.params)}" if self.params else "this fit has none"
            raise InputError(f"There is no parameter {name!r}; {known}.")
        if not 0.0 < level < 1.0:
            raise InputError(f"The level of an interval lies between 0 and 1, got {level}.")
        parameter = self.params[name]
        if kind in ("wald", "robust"):
            return parameter.wald(level, robust=kind == "robust")
        if kind != "profile":
            raise InputError(f"kind must be 'wald', 'robust' or 'profile', got {kind!r}.")
        if parameter.stderr is None:
            return None
        return self.estimate.profile(list(self.params).index(name), level)

    @cached_property
    def sde(self) -> SDE:
        """The fitted equation with its parameters fixed."""
        return self.model.at(**{name: p.estimate for name, p in self.params.items()})

    @cached_property
    def evidence(self) -> Evidence:
        """Model, data and estimate, as the diagnostics and figures take them."""
        return Evidence(
            model=self.model,
            data=self.data,
            pairs=self.pairs,
            theta=self.theta,
            covariance=torch.from_numpy(self.covariances.observed),
            density=self.estimate.density,
            seed=self.seed,
        )

    @cached_property
    def _diagnostics(self) -> "Diagnostics":
        from pdekit.fitting.diagnosis.diagnostics import diagnose, diagnose_unpaired

        if isinstance(self.data, Snapshots):
            converged = self.estimate.converged if self.params else None
            return diagnose_unpaired(self.estimate.flags, converged=converged)
        return diagnose(
            self.evidence,
            shift=self.estimate.shift,
            at_bound=self.estimate.at_bound,
            converged=self.estimate.converged,
            remarks=self.estimate.flags,
        )

    def diagnostics(self) -> "Diagnostics":
        """Tests of the model against the data, each with what to do about it; computed once."""
        return self._diagnostics

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What is worth knowing before trusting the fit, in plain words."""
        return self.diagnostics().flags

    def summary(self, *, width: int = 90) -> str:
        """A summary table in the manner of statsmodels, with the flags below it."""
        from pdekit.fitting.display.summary import summary_text

        return summary_text(self, width=width)

    def to_dataframe(self) -> "DataFrame":
        """The parameter table."""
        from pdekit.fitting.display.summary import parameter_frame

        return parameter_frame(self)

    def simulate(
        self, *, paths: int = 100, horizon: float | None = None, seed: int | None = None, **options: Any
    ) -> "Simulation":
        """Paths of the fitted equation that continue the (last) observed path.

        Args:
            paths: How many.
            horizon: How far, in the data's time unit; by default as long as the data.
            seed: Of the noise; by default the fit's.
            options: As `pdekit.simulate` takes them.
        """
        from pdekit.fitting.forecast import continue_paths

        return continue_paths(self, paths=paths, horizon=horizon, seed=seed, **options)

    def plot(self) -> "Figure":
        """Drift, diffusion, density, residuals and autocorrelation; for snapshots, samples and density."""
        if isinstance(self.data, Snapshots):
            from pdekit.fitting.display.snapshot_figures import snapshot_overview

            return snapshot_overview(self)
        from pdekit.fitting.display.figures import overview

        return overview(self)

    def report(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Writes one self-contained HTML page."""
        from pdekit.fitting.display.reporting import write_report

        write_report(self, path, command=command)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the fit and its data to a folder (JSON and safetensors), whole or not at all."""
        from pdekit.fitting.archive import save_fit
        from pdekit.fitting.storage import whole_folder

        with whole_folder(folder, overwrite=overwrite) as draft:
            save_fit(self, draft)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Fit":
        """Reads a fit that `save` or the command line wrote."""
        from pdekit.fitting.archive import read_fit

        return cls(**read_fit(folder))

    def __repr__(self) -> str:
        values = ", ".join(
            f"{p.name}={p.estimate:.4g}" + (f"±{p.stderr:.2g}" if p.stderr is not None else f" ({p.status})")
            for p in self.params.values()
        )
        name = self.model.name or type(self.model).__name__
        told = f"{values}; " if values else ""
        likelihood = "" if self.loglik is None else f"loglik={self.loglik:.6g}, "
        return f"Fit({name}: {told}{likelihood}n={self.n}, {self.status})"

"""torchsde behind one door: its schemes and its adjoint gradients, with the same result as our own schemes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.operators import to_ito
from pdekit.sde import SDE
from pdekit.simulation.contract import check_separable
from pdekit.simulation.equation import Equation
from pdekit.simulation.result import Simulation
from pdekit.simulation.stepping import Grid, Progress

Method = Literal["euler", "milstein", "srk", "euler_heun", "heun", "midpoint", "log_ode", "reversible_heun"]
_ITO = ("euler", "milstein", "srk")
_LEVY = {"srk": "space-time", "log_ode": "foster"}

# torchsde builds its Brownian path as a tree that grows with the steps and exceeds Python's recursion limit somewhere
# above 10,000 of them; a run is cut into legs that stay far below.
_LEG = 1024


@dataclass(frozen=True)
class TorchSDE:
    """A scheme of the package torchsde.

    Use it for the adjoint method, whose memory does not grow with the number of steps; for values alone the schemes of
    this package are several times faster.

    Args:
        method: `"euler"`, `"milstein"`, `"srk"` for Ito equations (a Stratonovich one is converted); `"euler_heun"`,
            `"heun"`, `"midpoint"`, `"log_ode"`, `"reversible_heun"` for Stratonovich equations.
        adjoint: Whether gradients come from the stochastic adjoint equation, solved backwards, instead of
            backpropagation through the steps.
        parameters: Every tensor that the coefficients close over and that the adjoint must reach: backwards it can't
            find them by itself. Gradients to x0 need no entry.
        adjoint_method: The scheme of the adjoint equation; by default torchsde chooses one.

    Raises:
        InputError: If the options contradict one another.

    Source: X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, Scalable Gradients for Stochastic Differential
    Equations, AISTATS 2020.
    """

    method: Method
    adjoint: bool = False
    parameters: tuple[Tensor, ...] = ()
    adjoint_method: str | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"method must be one of {get_args(Method)}, got {self.method!r}.")
        if not self.adjoint and (self.parameters or self.adjoint_method):
            raise InputError(
                "`parameters` and `adjoint_method` belong to the adjoint method; set adjoint=True as well."
            )

    def __repr__(self) -> str:
        return f"TorchSDE({self.method!r}{', adjoint=True' if self.adjoint else ''})"

    def solve(
        self,
        sde: SDE,
        x0: Tensor,
        times: Tensor,
        *,
        dt: float | None,
        seed: int,
        boundary: str,
        progress: Progress | None,
    ) -> Simulation:
        """Run torchsde; see `pdekit.simulate` for the arguments and the errors.

        Args:
            sde: The equation.
            x0: Start (paths, d).
            times: Output times (T,).
            dt: Longest step; required.
            seed: Seed of torchsde's Brownian path.
            boundary: The rule asked for.
            progress: Called with (steps done, steps in all) after every leg.
        """
        if dt is None:
            raise InputError(f"{self!r} takes fixed steps: pass dt.")
        with torch.no_grad():
            sde = self._prepare(sde, times[0].to(x0), x0.detach(), boundary)
        grid = Grid.build(times, dt)
        legs = list(_legs(grid))
        seeds = torch.randint(2**62, (len(legs),), generator=torch.Generator().manual_seed(seed)).tolist()
        x, outputs, done = x0, [x0.unsqueeze(0)], 0
        for leg, entropy in zip(legs, seeds, strict=True):
            states = self._solve_leg(sde, x, leg, entropy)
            _check(states, sde, leg)
            x = states[-1]
            outputs.append(states[1 : 1 + leg.outputs])
            done += leg.steps
            if progress is not None:
                progress(done, len(grid.lengths))
        return Simulation(
            times=times,
            values=torch.cat(outputs),
            names=sde.names,
            seed=seed,
            scheme=repr(self),
            dt=max(leg.step for leg in legs),
            boundary=boundary,
            touched=torch.zeros(len(x0), dtype=torch.bool, device=x0.device),
        )

    def _solve_leg(self, sde: SDE, x: Tensor, leg: "_Leg", entropy: int) -> Tensor:
        import torchsde

        # torchsde goes on in full steps until it has passed an output time, then interpolates; an excess of a billionth
        # makes rounding fall on the side where no extra step is needed.
        options: dict[str, Any] = {"method": self.method, "dt": leg.step * (1 + 1e-9)}
        solver: Any = torchsde.sdeint
        if self.adjoint:
            solver = torchsde.sdeint_adjoint
            options |= {"adjoint_params": self.parameters, "adjoint_method": self.adjoint_method}
        noise = torchsde.BrownianInterval(
            t0=leg.times[0],
            t1=leg.times[-1],
            size=(len(x), sde.noise_dim or sde.dim),
            dtype=x.dtype,
            device=x.device,
            entropy=entropy,
            dt=leg.step,
            levy_area_approximation=_LEVY.get(self.method, "none"),
        )
        return solver(sde, x, leg.times.to(x.device), bm=noise, **options)

    def _prepare(self, sde: SDE, t0: Tensor, x0: Tensor, boundary: str) -> SDE:
        """The SDE in the convention of the method, or a refusal by name."""
        if Equation.of(sde, x0).bounded and boundary != "raise":
            raise UnsupportedError(
                f'{self!r} can\'t {boundary} paths at the bounds of the domain. Pass boundary="raise" to stop if one '
                "leaves it, or use EulerMaruyama() or Milstein()."
            )
        if self.method in _ITO:
            self._check_noise(sde, t0, x0)
            return to_ito(sde)
        if sde.sde_type == "ito" and sde.noise_type != "additive":
            raise UnsupportedError(
                f"{self!r} converges to the Stratonovich solution and this SDE is Ito. Use one of the methods {_ITO}."
            )
        return replace(sde, sde_type="stratonovich")

    def _check_noise(self, sde: SDE, t0: Tensor, x0: Tensor) -> None:
        if self.method == "euler" or sde.noise_type == "additive":
            return
        # torchsde's Milstein differentiates a column of scalar noise as if it were diagonal.
        if sde.noise_type == "scalar" and (self.method == "srk" or sde.dim == 1):
            return
        if not sde.separable:
            raise UnsupportedError(
                f"{self!r} is right only for separable noise (diagonal, g_i a function of t and x_i alone, declared "
                f'with separable=True); this SDE has {sde.noise_type} noise that is not. Use TorchSDE("euler").'
            )
        check_separable(sde, t0, x0)


@dataclass(frozen=True)
class _Leg:
    """A stretch of equal steps, at most `_LEG` of them.

    Args:
        times: Start, output times and end (k,), float64.
        step: Length of the steps.
        steps: Their number.
        outputs: How many of the times after the start were asked for; the end may not be one of them.
    """

    times: Tensor
    step: float
    steps: int
    outputs: int


def _legs(grid: Grid) -> Iterator[_Leg]:
    lengths, ends = grid.lengths.tolist(), grid.ends.tolist()
    is_output = torch.zeros(len(lengths), dtype=torch.bool)
    is_output[grid.outputs] = True
    first = 0
    while first < len(lengths):
        step, stop = lengths[first], first + 1
        while stop < min(len(lengths), first + _LEG) and abs(lengths[stop] - step) <= 1e-9 * step:
            stop += 1
        asked = [ends[i] for i in range(first, stop) if is_output[i]]
        tail = [] if is_output[stop - 1] else [ends[stop - 1]]
        edges = torch.tensor([float(grid.starts[first]), *asked, *tail], dtype=torch.float64)
        yield _Leg(edges, step, stop - first, len(asked))
        first = stop


def _check(states: Tensor, sde: SDE, leg: _Leg) -> None:
    lower, upper = (states.new_tensor(side) for side in zip(*(sde.domain or ()), strict=True))
    bad = ~(torch.isfinite(states) & (states >= lower) & (states <= upper))
    if bool(bad.any()):
        time, path, state = bad.nonzero()[0].tolist()
        raise NumericalError(
            f"{sde.names[state]} of path {path} is {float(states[time, path, state]):.6g} at "
            f"t={float(leg.times[time]):.6g}, outside its domain or not finite, with step {leg.step:.3g}. Use a "
            'smaller dt, or a scheme of this package with boundary="reflect".'
        )

"""The door: `simulate`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.operators import to_ito
from pdekit.sde import SDE
from pdekit.seeds import check_seed
from pdekit.simulation.contract import check_contract, check_scheme
from pdekit.simulation.domain import Boundary, Guard
from pdekit.simulation.equation import Equation, Scheme
from pdekit.simulation.noise import BrownianStream
from pdekit.simulation.order15 import StrongOrder15
from pdekit.simulation.pilot import choose_step
from pdekit.simulation.result import Simulation
from pdekit.simulation.schemes import EulerMaruyama, Heun, Milstein
from pdekit.simulation.stepping import Grid, Progress, integrate
from pdekit.simulation.torchsde_adapter import TorchSDE
from pdekit.threads import one_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def simulate(
    sde: SDE,
    x0: "float | ArrayLike | Tensor",
    times: "ArrayLike | Tensor | Sequence[float]",
    *,
    paths: int | None = None,
    scheme: Scheme | TorchSDE | None = None,
    dt: float | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    boundary: Boundary = "reflect",
    progress: Progress | None = None,
) -> Simulation:
    """Simulate paths of an SDE.

    The same arguments and seed give the same paths, whatever the number of threads. Gradients flow to x0 and to every
    tensor that the coefficients close over and that requires them, unless they are switched off by `torch.no_grad`;
    otherwise nothing is recorded.

    Args:
        sde: The equation dX = f dt + G dW, all parameters fixed; its coefficients treat each row of x by itself.
        x0: The start: a number (one state), d numbers, or (paths, d) for a start per path.
        times: The start time and the output times (T,), strictly increasing, in the time unit of the coefficients.
        paths: Number of paths, by default 1 or the rows of x0.
        scheme: `EulerMaruyama()`, `Milstein()`, `StrongOrder15()`, `Heun()` or `TorchSDE(...)`. By default the best the
            declared noise allows: for an Ito equation `StrongOrder15` if it is separable without bounds, `Milstein` if
            separable in a bounded domain, else `EulerMaruyama`; for a Stratonovich equation `Heun`.
        dt: Longest internal step; every output interval is divided into equal steps. By default a pilot of 256 paths
            halves the step until that changes the state by less than 1 % of its move per output interval.
        seed: Seed of the noise, by default drawn from `generator`.
        generator: Source of a seed, by default torch's global one. The result records the seed.
        boundary: What to do with a state that steps out of `sde.domain`: `"reflect"` it at the bound, `"absorb"` the
            path there (it stops), or `"raise"`.
        progress: Called with (steps done, steps in all) every few milliseconds.

    Returns:
        The paths, float64 unless x0 is float32, on the device of x0.

    Raises:
        InputError: If x0, times, paths, dt or seed make no sense.
        ModelError: If the coefficients contradict what the SDE declares, or mix rows.
        UnsupportedError: If the scheme is wrong for this kind of noise; the message names one that isn't.
        NumericalError: If a path explodes; the message names time, path and state.

    Example:
        >>> import torch
        >>> from pdekit.sde import SDE
        >>> ou = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 0.5), dim=1, separable=True)
        >>> simulate(ou, 1.0, [0.0, 0.5, 1.0], paths=1000, seed=0).values.shape
        torch.Size([3, 1000, 1])
    """
    _check_kinds(sde, scheme)
    times, start = read_times(times), read_start(x0, sde, paths)
    seed = read_seed(seed, generator)
    if boundary not in get_args(Boundary):
        raise InputError(f"boundary must be one of {get_args(Boundary)}, got {boundary!r}.")
    if dt is not None and not 0 < dt < float("inf"):
        raise InputError(f"dt must be a positive number, got {dt!r}.")
    t0 = times[0].to(start)
    with torch.no_grad():
        check_contract(sde, t0, start.detach())
    with torch.set_grad_enabled(_wants_gradients(sde, t0, start)), one_thread(start.numel()):
        if isinstance(scheme, TorchSDE):
            return scheme.solve(sde, start, times, dt=dt, seed=seed, boundary=boundary, progress=progress)
        scheme = scheme or default_scheme(sde)
        with torch.no_grad():
            check_scheme(scheme, sde, t0, start.detach())
        if scheme.convention == "ito":
            sde = to_ito(sde)
        if dt is None:
            with torch.no_grad():
                dt = choose_step(sde, scheme, start, times, boundary, seed)
        return _run(sde, start, times, scheme, dt, seed, boundary, progress)


def _check_kinds(sde: object, scheme: object) -> None:
    if not isinstance(sde, SDE):
        raise InputError(
            f"The equation must be an SDE with its parameters fixed, got {type(sde).__name__}; a SymbolicSDE gives one "
            "by model.at(name=value, ...)."
        )
    if scheme is not None and not hasattr(scheme, "convention") and not isinstance(scheme, TorchSDE):
        raise InputError(
            f"scheme must be an object such as EulerMaruyama() or TorchSDE('srk'), got {scheme!r}; leave it out for "
            "the best that the noise allows."
        )


def _run(
    sde: SDE,
    start: Tensor,
    times: Tensor,
    scheme: Scheme,
    dt: float,
    seed: int,
    boundary: Boundary,
    progress: Progress | None,
) -> Simulation:
    eq, grid = Equation.of(sde, start), Grid.build(times, dt)
    guard = Guard(boundary, eq, sde.names, start)
    stream = BrownianStream(seed, len(start), sde.noise_dim or sde.dim, integrals=scheme.integrals, like=start)
    values = integrate(eq, scheme, grid, start, stream, guard, progress)
    return Simulation(
        times=times,
        values=values,
        names=sde.names,
        seed=seed,
        scheme=repr(scheme),
        dt=float(grid.lengths.max()),
        boundary=boundary,
        touched=guard.touched,
    )


def default_scheme(sde: SDE) -> Scheme:
    """The most accurate scheme that is right for the declared noise; see `simulate`."""
    if sde.sde_type == "stratonovich":
        return Heun()
    if not sde.separable:
        return EulerMaruyama()
    unbounded = all(bound in (float("-inf"), float("inf")) for side in sde.domain or () for bound in side)
    return StrongOrder15() if unbounded else Milstein()


def read_times(times: "ArrayLike | Tensor | Sequence[float]") -> Tensor:
    """Output times as a float64 tensor (T,) on the CPU, refused unless finite and strictly increasing."""
    try:
        t = torch.as_tensor(times).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"times must be numbers, got {type(times).__name__}: {error}") from error
    if t.dim() != 1 or len(t) < 2:
        raise InputError(
            f"times must be the start time and at least one output time, in one dimension; got shape {tuple(t.shape)}."
        )
    if not bool(torch.isfinite(t).all()):
        raise InputError(f"times must be finite, entry {int((~torch.isfinite(t)).nonzero()[0, 0])} is not.")
    bad = (t.diff() <= 0).nonzero()
    if len(bad):
        i = int(bad[0, 0])
        raise InputError(
            f"times must increase strictly, but times[{i + 1}] = {float(t[i + 1]):g} follows {float(t[i]):g}."
        )
    return t


def read_start(x0: "float | ArrayLike | Tensor", sde: SDE, paths: int | None) -> Tensor:
    """The start as a tensor (paths, d), float64 unless given as float32, refused unless finite and in the domain."""
    try:
        x = torch.as_tensor(x0, dtype=None if isinstance(x0, Tensor) or hasattr(x0, "dtype") else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"x0 must be numbers, got {type(x0).__name__}: {error}") from error
    x = x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float64)
    if paths is not None and (isinstance(paths, bool) or not isinstance(paths, int) or paths < 1):
        raise InputError(f"paths must be a positive integer, got {paths!r}.")
    shape = tuple(x.shape)
    if x.dim() == 0 and sde.dim == 1:
        x = x.reshape(1, 1)
    elif x.dim() == 1 and len(x) == sde.dim:
        x = x.reshape(1, -1)
    elif x.dim() != 2 or x.shape[1] != sde.dim or len(x) == 0:
        raise InputError(
            f"x0 must have shape ({sde.dim},), or (paths, {sde.dim}) for a start per path, got {shape}."
            + (" For one number per path pass x0[:, None]." if x.dim() == 1 and sde.dim == 1 else "")
        )
    if paths is not None and len(x) not in (1, paths):
        raise InputError(f"x0 has {len(x)} rows but paths={paths}; leave paths out, or pass one row.")
    _check_start(x.detach(), sde)
    return x.expand(paths or len(x), -1)


def _check_start(x: Tensor, sde: SDE) -> None:
    for i, (lower, upper) in enumerate(sde.domain or ()):
        bad = ~(torch.isfinite(x[:, i]) & (x[:, i] >= lower) & (x[:, i] <= upper))
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise InputError(
                f"x0: {sde.names[i]} of path {row} is {float(x[row, i]):g}, outside the domain ({lower:g}, {upper:g})."
            )


def read_seed(seed: int | None, generator: torch.Generator | None) -> int:
    """The seed given, or one drawn from `generator` (torch's global one by default)."""
    if seed is None:
        device = "cpu" if generator is None else generator.device
        return int(torch.randint(2**62, (), generator=generator, device=device))
    if generator is not None:
        raise InputError("Give either seed or generator, not both.")
    check_seed(seed, 63)
    return seed


def _wants_gradients(sde: SDE, t0: Tensor, start: Tensor) -> bool:
    if not torch.is_grad_enabled():
        return False
    first = start[:1]
    return start.requires_grad or sde.drift(t0, first).requires_grad or sde.diffusion(t0, first).requires_grad

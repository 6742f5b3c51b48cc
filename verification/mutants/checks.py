"""The checks that mutants are held against, by area and from cheap to dear: `pdekit.testing`, kept to a few seconds.

Each is a function without arguments that raises where something is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor
from torch.nn import functional

from pdekit import SDE, models, operators, testing
from pdekit.data import Pairs
from pdekit.fitting.densities.bridge import BridgeTransition
from pdekit.fitting.densities.choose import Method, transition_density
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.kessler import KesslerTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.nets import (
    MLP,
    AttentionConditioner,
    ConcatSquashMLP,
    ConvolutionConditioner,
    HollowNet,
    HollowTransformerConditioner,
    MaskedConditioner,
    MLPTransformer,
    PoolingConditioner,
    ScanConditioner,
)
from pdekit.nets.conditioners import ConditionerOptions
from pdekit.operators import Compressed, Dense, Exact, Hollow, Hutchinson
from pdekit.simulation import EulerMaruyama, Heun, Milstein, StrongOrder15
from pdekit.simulation.domain import Guard
from pdekit.simulation.equation import Equation
from pdekit.simulation.noise import BrownianStream
from pdekit.simulation.stepping import Grid, march
from pdekit.symbolic import SymbolicSDE
from pdekit.testing import CheckFailure, Trial
from pdekit.testing.matrix import run_matrix, subjects
from verification.mutants.integrator_checks import CHECKS as INTEGRATORS
from verification.mutants.sensitivity_checks import CHECKS as SENSITIVITIES
from verification.mutants.solver_checks import CHECKS as SOLVERS

Check = Callable[[], None]

# Operators.


def matrix(name: str, examples: int = 30) -> None:
    """One operator of the matrix, by all methods: float64, eager."""
    tried = [s for s in subjects() if s.specification.name == name]
    for cell in run_matrix(tried, examples=examples, compiled=0, dtypes=(torch.float64,)):
        if not cell.good:
            what = f"{cell.method} on {cell.form}: {cell.violations} of {cell.trials} trials are wrong"
            raise CheckFailure(name, f"{what}, first\n{cell.failure}", units=cell.units)


def fixed_noise() -> None:
    """Hutchinson's estimate with fixed noise is v . J v, the same at each call."""
    x = torch.tensor([[0.5, -0.25, 1.0]], dtype=torch.float64)
    method = Hutchinson().fixed(x)
    if method.noise is None:
        raise CheckFailure("hutchinson", "fixed(x) fixes no noise")
    v = [sympy.Float(float(s)) for s in method.noise[0, 0]]

    def quadratic_form(trial: Trial) -> list[sympy.Expr]:
        assert trial.function is not None
        jacobian = sympy.Matrix(trial.function.outputs).jacobian(list(trial.function.state))
        return [(sympy.Matrix([v]) * jacobian * sympy.Matrix(v))[0]]

    trial = Trial(testing.vector("x1*x2*x3", "sin(x1) + x2**2", "x3*tanh(x1)"), x=x.numpy())
    specification = replace(testing.divergence, truth=quadratic_form)
    for _ in range(2):
        testing.check_operator(partial(operators.divergence, method=method), specification, trial=trial)


_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "silu": (functional.silu, "{0}/(1 + exp(-{0}))"),
    "sigmoid": (torch.sigmoid, "1/(1 + exp(-{0}))"),
    "softplus": (functional.softplus, "log(1 + exp({0}))"),
    "gelu": (functional.gelu, "{0}*(1 + erf({0}/sqrt(2)))/2"),
    "mish": (functional.mish, "{0}*tanh(log(1 + exp({0})))"),
}


def activations() -> None:
    """The third derivatives of the activations of networks, which no drawn formula contains.

    Compiled, because uncompiled operators compare their series with autograd, once for each function, and take the
    slower route where a rule is wrong: what they give is right all the same.
    """
    inner = testing.vector("x1*x2", "x1 - 2*x2")
    trial = Trial(inner, x=np.array([[0.5, 1.25], [-1.0, 0.75]]))
    jet = testing.dimwise_jet(3)
    for name, (activation, formula) in _ACTIVATIONS.items():
        outer = testing.vector(*(formula.format(f"({z})") for z in inner.outputs))
        specification = replace(
            jet,
            name=f"{jet.name} of {name}",
            truth=lambda trial, outer=outer: jet.truth(replace(trial, function=outer)),
            applies=lambda operator, _, f, phi=activation: operator(lambda x: phi(f(x))),
        )
        testing.check_operator(partial(operators.dimwise_jet, order=3), specification, trial=trial, compiled=True)


def constant_tensors() -> None:
    """tr(C hess u) with C given as numbers, which the matrix gives as functions; by every method."""

    def applied(operator: Any, trial: Trial, u: Any) -> Any:
        assert trial.coefficients is not None
        return operator(u, tensor=torch.tensor(trial.coefficients.matrix.tolist(), dtype=torch.float64))

    specification = replace(testing.second_order_operator, applies=applied)
    u = testing.layered([[1, -2, 0.5], [0.25, 1, 1]], [0.5, -1], ["sin(z1)*z2 + z1**2*tanh(z2)"], scalar=True)
    coefficients = testing.coefficients([0, 0, 0], tensor=[[2, 0.5, 0], [0.5, 1, -1], [0, -1, -0.5]])
    trial = Trial(u, coefficients=coefficients, x=np.array([[0.5, -0.25, 1.0], [1.25, 0.75, -0.5]]))
    for method in (Exact(), Compressed(), Dense(), Dense(1)):
        operator = partial(operators.second_order_operator, method=method)
        testing.check_operator(operator, specification, trial=trial)


def gradients_of_operators() -> None:
    """Gradients of divergence, Laplacian and residual reach state and parameters, by every method that serves."""
    x = torch.tensor([[0.5, -0.25], [1.0, 0.75]], dtype=torch.float64)
    field, scalar = MLP(2, (3,), seed=0).double(), MLP(2, (3,), out_dim=0, seed=0).double()
    for method in (Exact(), Compressed(), Dense()):
        testing.check_gradients(partial(operators.divergence, method=method), field, x, second=False)
        testing.check_gradients(partial(operators.laplacian, method=method), scalar, x, second=False)
    log_p = MLP(2, (3,), out_dim=0, time=True, seed=0).double()
    sde = SDE(lambda t, x: -x, lambda t, x: 1 + 0.5 * torch.sin(x), dim=2)
    testing.check_gradients(lambda f: operators.fokker_planck_residual(f, sde), log_p, x, time=0.5, second=False)


def gradients_of_hollow() -> None:
    """Gradients of a hollow network's divergence reach its conditioner."""
    net = HollowNet(2, MaskedConditioner(features=2, hidden=(3,)), MLPTransformer(hidden=(2,)), seed=0).double()
    x = torch.tensor([[0.5, -0.25], [1.0, 0.75]], dtype=torch.float64)
    testing.check_gradients(partial(operators.divergence, method=Hollow()), net, x, second=False)


# Networks.


def _conditioners(dim: int) -> list[ConditionerOptions]:
    return [
        MaskedConditioner(features=3, hidden=(6, 6)),
        MaskedConditioner(features=3, hidden=(4, 4), block=2, rank=2),
        ScanConditioner(features=3, width=4, hidden=4, layers=2),
        PoolingConditioner(features=3, hidden=(6,)),
        PoolingConditioner(features=3, hidden=(6,), pool="max"),
        AttentionConditioner(features=3, width=4, layers=2),
        HollowTransformerConditioner(features=3, width=4, layers=2),
        HollowTransformerConditioner(features=3, width=4, readout="attention"),
        ConvolutionConditioner(shape=(dim,), features=3, hidden=(6,), kernel=3),
        ConvolutionConditioner(shape=(dim,), features=3, hidden=(6,), kernel=3, padding="zeros", dilations=(1, 2)),
    ]


def rows() -> None:
    """Networks act on each row by itself."""
    testing.check_rowwise(MLP(3, (8,), seed=0).double(), 3)
    testing.check_rowwise(ConcatSquashMLP(3, (8,), seed=0).double(), 3, time=0.5)
    for conditioner in _conditioners(3):
        testing.check_rowwise(HollowNet(3, conditioner, seed=0).double(), 3)


def hollow() -> None:
    """Every conditioner is hollow in two, three and five dimensions, with a time and without."""
    for dim in (2, 3, 5):
        for conditioner in _conditioners(dim):
            testing.check_hollow(HollowNet(dim, conditioner, seed=0).double(), dim)
        testing.check_hollow(HollowNet(dim, ScanConditioner(), time=True, seed=0).double(), dim, time=0.5)


class _OfTwo(torch.nn.Module):
    """f_i and f_j of a hollow network as functions of x_i and x_j, the other states held: hollow again.

    Args:
        net: The network, whose transformer treats all dimensions alike.
        i: The one state.
        j: The other.
    """

    def __init__(self, net: HollowNet, i: int, j: int) -> None:
        super().__init__()
        self.net, self.chosen = net, torch.tensor([i, j])
        self.held = torch.linspace(-1.0, 1.0, net.dim, dtype=torch.float64)

    def condition(self, y: Tensor) -> Tensor:
        x = self.held.expand(*y.shape[:-1], -1).index_copy(-1, self.chosen, y)
        return self.net.condition(x)[..., self.chosen, :]

    def transform(self, y: Tensor, h: Tensor) -> Tensor:
        return self.net.transform(y, h)

    def forward(self, y: Tensor) -> Tensor:
        return self.transform(y, self.condition(y))


def sight() -> None:
    """Each f_i of a hollow network depends on every other x_j, of which `check_hollow` asks for one alone."""
    for conditioner in _conditioners(3):
        net = HollowNet(3, conditioner, seed=0).double()
        for i, j in combinations(range(3), 2):
            testing.check_hollow(_OfTwo(net, i, j), 2)


# Formulas.

_KS = {"k": 1.0, "s": 0.5}


def _stratonovich() -> list[SymbolicSDE]:
    return [
        SymbolicSDE("x", "-k*x", "s*x", convention="stratonovich", params={"k": None, "s": None}, defaults=_KS),
        SymbolicSDE(
            ["x", "y"],
            ["-k*x + y", "-x*y"],
            [["s*x*y", "sin(x)"], ["y", "s + x**2"]],
            convention="stratonovich",
            params={"k": None, "s": None},
            defaults=_KS,
        ),
    ]


def _powers() -> SymbolicSDE:
    """Roots, powers and sums of all kinds, on a half-line."""
    drift = "-x**(3/2) - k*sqrt(x) - x**5/(1 + x)**2 - k - exp(-x)*sin(x)*(x**2 - k*exp(-x))"
    return SymbolicSDE("x", drift, "s*x**(5/2)", domain=[(0, None)], params={"k": None, "s": None}, defaults=_KS)


def catalogue() -> None:
    """Models of the catalogue, and some of both conventions: code and formulas agree."""
    names = ("cir", "logistic", "stochastic_pitchfork", "stochastic_resonance", "kramers", "linear_2d", "heston")
    for model in (*_stratonovich(), _powers(), *map(models.get, names)):
        testing.check_sde(model.at(**model.defaults), model=model)


def stationary_laws() -> None:
    """Stationary densities of scalar models of the catalogue have mass, moments and a residual of zero."""
    for name, lower in (("ornstein_uhlenbeck", None), ("cir", [0.0]), ("logistic", [0.0]), ("student", None)):
        model = models.get(name)
        density = model.function(sympy.log(model.closed_forms["stationary_density"]))
        theta = model.theta(model.defaults)
        moments = model.function([model.closed_forms[f"stationary_{m}"] for m in ("mean", "variance")])
        mean, variance = moments(0.0, torch.zeros(1, dtype=torch.float64), theta).tolist()
        testing.check_density(
            lambda x, density=density, theta=theta: density(0.0, x, theta),
            1,
            sde=model.at(**model.defaults),
            lower=lower,
            mean=[mean],
            covariance=[[variance]],
            rtol=1e-5,
        )


# Transition densities.


def _pairs(x0: Tensor, x1: Tensor, dt: Tensor) -> Pairs:
    return Pairs(torch.zeros_like(dt), dt, x0, x1, torch.zeros(len(dt), dtype=torch.int64))


def _held(
    model: SymbolicSDE,
    method: Method,
    x0: float,
    lower: float,
    upper: float,
    params: dict[str, float] | None = None,
    **options: Any,
) -> None:
    """A transition density of a model against the Fokker-Planck equation; see `testing.check_transition`."""
    values = params or model.defaults
    theta = model.theta(values)

    def log_density(x0: Tensor, x1: Tensor, dt: Tensor) -> Tensor:
        pairs = _pairs(x0, x1, dt)
        if method == "bridge":  # without the judgement whether it may serve, which refuses the tails of the grid
            return BridgeTransition(model, pairs).log_density(theta)
        return transition_density(model, pairs, theta, method).log_density(theta)

    testing.check_transition(log_density, model.at(**values), x0, lower=lower, upper=upper, **options)


def euler_moments() -> None:
    """One Euler step in two dimensions is the normal law with mean x0 + F dt and covariance G G^T dt."""
    model = SymbolicSDE(
        ["x", "y"], ["-x + y", "-y"], [["x", "0.5"], ["0.25", "1"]], convention="stratonovich", params={}
    )
    x0, dt = torch.tensor([[1.0, 0.5]], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)

    def log_density(x: Tensor) -> Tensor:
        step = EulerTransition(model, _pairs(x0.expand_as(x), x, dt.expand(len(x))))
        return step.log_density(torch.zeros(0, dtype=torch.float64))

    # G = [[x, 1/2], [1/4, 1]], of which x alone moves: the correction is (x/2, 0).
    mean = [1.0 + 0.1 * (-0.5 + 0.5), 0.5 - 0.1 * 0.5]
    covariance = [[0.1 * 1.25, 0.1 * 0.75], [0.1 * 0.75, 0.1 * 1.0625]]
    testing.check_density(log_density, 2, mean=mean, covariance=covariance, rtol=1e-5)


def euler_orders() -> None:
    """Euler's density converges like dt for additive noise, like its root for multiplicative noise."""
    _held(models.get("ornstein_uhlenbeck"), "euler", 0.6, -2.5, 2.5, order=1.0)
    params = {"mu": 0.3, "sigma": 0.5}
    _held(models.get("geometric_brownian_motion"), "euler", 1.0, 0.05, 6.0, params, order=0.5)


def kessler_orders() -> None:
    """Kessler's density converges like the moments it has where the law is normal, like dt^(3/2) elsewhere."""
    _held(models.get("ornstein_uhlenbeck"), "kessler", 0.6, -2.5, 2.5, order=2.0)
    _held(models.get("double_well"), "kessler", 0.8, -2.5, 2.5, order=1.5)


def local_linear_orders() -> None:
    """Ozaki's densities are exact for linear drift, and converge like dt^(3/2) for other drift."""
    for method in ("ozaki", "shoji-ozaki"):
        _held(models.get("ornstein_uhlenbeck"), method, 0.6, -2.5, 2.5, dts=(0.5, 0.1), tolerance=1e-5)
    _held(models.get("double_well"), "shoji-ozaki", 0.8, -2.5, 2.5, order=1.5)


def normal_moments() -> None:
    """Moments of normal densities in two dimensions: two derivations agree to dt^2, and long steps forget the start."""
    model, dt = models.get("hopf"), 1e-3
    theta, x = model.theta(model.defaults), torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    step = _pairs(x, x, torch.tensor([dt], dtype=torch.float64))
    for one, other in zip(
        KesslerTransition(model, step).moments(theta), LocalLinearTransition(model, step).moments(theta), strict=True
    ):
        if not float((one - other).abs().max()) <= 100.0 * dt**3:
            raise CheckFailure("transition", f"Kessler's and Shoji and Ozaki's moments differ: {one}, {other}")
    oscillator = models.get("damped_oscillator")
    gamma, omega, temperature = (oscillator.defaults[name] for name in ("gamma", "omega", "T"))
    long = _pairs(x, x, torch.tensor([80.0 / gamma], dtype=torch.float64))
    _, covariance = LocalLinearTransition(oscillator, long).moments(oscillator.theta(oscillator.defaults))
    stationary = torch.diag(torch.tensor([temperature / omega**2, temperature], dtype=torch.float64))
    if not torch.allclose(covariance[0], stationary, rtol=1e-9, atol=1e-9):
        raise CheckFailure("transition", f"After a long step the covariance is {covariance[0]}, not {stationary}")


def ait_sahalia_orders() -> None:
    """Ait-Sahalia's expansion to dt^2 converges like dt^(5/2), for additive and for multiplicative noise."""
    loose: dict[str, Any] = {"mass_tolerance": 0.1, "order": 2.5}
    _held(models.get("double_well"), "ait-sahalia", 0.8, -2.5, 2.5, **loose)
    _held(models.get("logistic"), "ait-sahalia", 0.8, 0.05, 3.5, dts=(0.4, 0.2, 0.1, 0.05), **loose)


def closed_forms() -> None:
    """The closed forms solve the Fokker-Planck equation."""
    dts = (0.5, 0.1)
    _held(models.get("ornstein_uhlenbeck"), "closed-form", 0.6, -3.0, 3.0, dts=dts, tolerance=1e-4)
    params = {"mu": 0.3, "sigma": 0.4}
    _held(models.get("geometric_brownian_motion"), "closed-form", 1.0, 0.05, 6.0, params, dts=dts, tolerance=1e-3)
    _held(models.get("cir"), "closed-form", 0.3, 0.01, 1.2, dts=dts, tolerance=1e-3)


def bridges() -> None:
    """The bridge is right over short steps, for additive and for multiplicative noise."""
    _held(models.get("double_well"), "bridge", 0.8, -2.0, 2.5, dts=(0.05, 0.02), tolerance=1e-4)
    _held(models.get("logistic"), "bridge", 0.8, 0.05, 3.0, dts=(0.05, 0.02), tolerance=1e-4)


def grids() -> None:
    """The Fokker-Planck grid is right in the open, at reflecting ends, and for noise that changes with the state."""
    _held(models.get("double_well"), "fokker-planck", 0.5, -2.5, 2.5, dts=(0.5, 0.1), tolerance=5e-3)
    _held(models.get("student"), "fokker-planck", 0.5, -3.5, 4.0, dts=(0.5, 0.1), tolerance=5e-3)
    box = SymbolicSDE("x", "-k*x", "s", domain=[(0, 1)], params={"k": None, "s": (0, None)}, defaults=_KS)
    _reflected(box)


def _reflected(box: SymbolicSDE, x0: float = 0.25) -> None:
    """Without a drift the density between reflecting walls at 0 and 1 is a sum of images of the normal density."""
    x = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    theta = box.theta({"k": 0.0, "s": 0.5})
    for dt in (0.5, 0.1):
        normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 0.5 * dt**0.5)
        images = [normal.log_prob(x - sign * x0 - 2 * n).exp() for n in range(-3, 4) for sign in (1, -1)]
        pairs = _pairs(torch.full_like(x, x0).unsqueeze(-1), x.unsqueeze(-1), torch.full_like(x, dt))
        found = transition_density(box, pairs, theta, "fokker-planck").log_density(theta).exp()
        error = float((found - sum(images)).abs().mean())
        if not error <= 5e-3:
            raise CheckFailure("transition", f"between reflecting walls the density is off by {error:.3g} after {dt:g}")


# Simulation.


def strong_order(
    scheme: Any, sde: SDE, exact: Callable[[Any, Tensor], Tensor], order: float, *, levels: Sequence[int] = (4, 5, 6, 7)
) -> None:
    """A scheme's root mean square error at time 1 shrinks like dt^order, on paths that share their noise.

    Args:
        scheme: The scheme.
        sde: An equation in the scheme's convention, with one state, from 0.
        exact: (noise over the finest steps, start) -> the end.
        order: The strong order expected, within .15.
        levels: The scheme takes 2^level steps.

    Raises:
        CheckFailure: If the order is another one.
    """
    start = torch.zeros(1000, sde.dim, dtype=torch.float64)
    times, finest = torch.tensor([0.0, 1.0], dtype=torch.float64), max(levels) + 2
    noise = BrownianStream(3, len(start), sde.dim, integrals=True, like=start).draw(
        Grid.build(times, 2.0**-finest).lengths
    )
    target, errors = exact(noise, start), {}
    equation = Equation.of(sde, start)
    guard = Guard("raise", equation, sde.names, start)
    for level in range(finest, min(levels) - 1, -1):
        if level in levels:
            grid = Grid.build(times, 2.0**-level)
            with torch.no_grad():
                end = march(equation, scheme, grid, slice(0, len(grid.lengths)), start, noise, guard)[-1]
            errors[level] = float((end - target).square().mean().sqrt())
        noise = noise.coarsened(2.0**-level)
    found = -np.polyfit(list(errors), np.log2(list(errors.values())), 1)[0]
    if not abs(found - order) <= 0.15:
        listed = ", ".join(f"{e:.3g} with 2^{level} steps" for level, e in errors.items())
        raise CheckFailure("simulation", f"{scheme} has strong order {found:.2f}, expected {order:g} ({listed})")


def _sinh(convention: Any) -> tuple[SDE, Callable[[Any, Tensor], Tensor]]:
    """X = sinh(t^2/2 + a(t) W), whose end is known from W(1): both coefficients depend on time and state."""

    def a(t: Tensor) -> Tensor:
        return 0.6 + 0.3 * torch.sin(2 * t)

    def f(t: Tensor, x: Tensor) -> Tensor:
        rate = t + 0.6 * torch.cos(2 * t) / a(t) * (torch.asinh(x) - t**2 / 2)
        return torch.cosh(torch.asinh(x)) * rate + (a(t) ** 2 / 2 * x if convention == "ito" else 0.0)

    def g(t: Tensor, x: Tensor) -> Tensor:
        return a(t) * torch.sqrt(1 + x**2)

    def exact(noise: Any, start: Tensor) -> Tensor:
        return torch.sinh(0.5 + a(torch.ones((), dtype=torch.float64)) * noise.dw.sum(0))

    return SDE(f, g, dim=1, sde_type=convention, separable=True), exact


def orders_of_ito_schemes() -> None:
    """Euler-Maruyama, Milstein and the scheme of order 1.5 have their strong orders."""
    for scheme in (EulerMaruyama(), Milstein(), StrongOrder15()):
        strong_order(scheme, *_sinh("ito"), order=scheme.order)


def order_of_heun() -> None:
    """Heun has strong order 1 and reaches the Stratonovich solution; so does Milstein after conversion."""
    sde, exact = _sinh("stratonovich")
    strong_order(Heun(), sde, exact, 1.0)
    strong_order(Milstein(), operators.to_ito(sde), exact, 1.0)


_MATRIX = (
    "ito_drift",
    "divergence",
    "jacobian_diagonal",
    "probability_current",
    "probability_flow",
    "laplacian",
    "vector_laplacian",
    "generator",
    "second_order_operator",
    "dimwise_derivative(order=2)",
    "dimwise_jet(order=6)",
    "log_fokker_planck_operator",
    "fokker_planck_residual",
    "fokker_planck_operator",
    "biharmonic",
)

AREAS: dict[str, dict[str, Check]] = {
    "operators": {
        "fixed noise": fixed_noise,
        "constant tensors": constant_tensors,
        "gradients of hollow": gradients_of_hollow,
        "gradients": gradients_of_operators,
        **{f"matrix: {name}": partial(matrix, name) for name in _MATRIX},
        "activations": activations,
    },
    "nets": {"rows": rows, "hollow": hollow, "sight": sight},
    "symbolic": {"catalogue": catalogue, "stationary laws": stationary_laws},
    "densities": {
        "Euler moments": euler_moments,
        "closed forms": closed_forms,
        "Euler orders": euler_orders,
        "Kessler orders": kessler_orders,
        "normal moments": normal_moments,
        "local linear orders": local_linear_orders,
        "Ait-Sahalia orders": ait_sahalia_orders,
        "bridge": bridges,
        "Fokker-Planck grid": grids,
    },
    "simulation": {"orders": orders_of_ito_schemes, "Heun": order_of_heun},
    "integrators": INTEGRATORS,
    "solvers": SOLVERS,
    "sensitivities": SENSITIVITIES,
}

__all__ = ["AREAS", "Check", "strong_order"]

"""An SDE stated with symbols: what models, likelihoods and reports are built from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import sympy
import torch
from sympy import Expr, ImmutableMatrix, MatrixBase, Symbol
from torch import Tensor

from pdekit.errors import ModelError
from pdekit.sde import SDE, Convention, NoiseType
from pdekit.symbolic.compiled import Compiled
from pdekit.symbolic.convention import stratonovich_correction
from pdekit.symbolic.entries import Entry, Shape, as_number, names_in, read_entry, shape_diffusion
from pdekit.symbolic.latex import equation
from pdekit.symbolic.operations import check_supported
from pdekit.symbolic.parameters import Bounds, check_values, read_bounds, read_domain, unknown_names
from pdekit.symbolic.parser import check_name
from pdekit.symbolic.printer import write_expression
from pdekit.symbolic.record import read_record, write_record

__all__ = ["SymbolicSDE"]


class SymbolicSDE:
    """A stochastic differential equation dX = f(t, X; theta) dt + G(t, X; theta) dW with named parameters.

    Args:
        state: The names (or SymPy symbols) of the d states; a single name may stand alone.
        drift: f, one entry per state. Entries are text (`"theta*(mu - x)"`), SymPy expressions or numbers; SymPy
            symbols are matched by name.
        diffusion: G, never G^2. A list of d entries is diagonal noise; a nested list or a SymPy matrix of shape (d, m)
            is general.
        params: `{name: (lower, upper)}`, where None stands for no bound, in the order of `theta`. By default every name
            that is neither state nor time, unbounded, in the order of first appearance.
        convention: `"ito"` or `"stratonovich"`.
        time: The name of the time.
        domain: (lower, upper) of each state, None for no bound; by default the whole real line.
        boundary: One or two plain sentences on how the ends of the domain behave.
        name: A short name for messages and tables.
        description: One plain sentence.
        closed_forms: Formulas that are known for this model, by name, in the state, time and parameters. The catalogue
            uses `stationary_density`, `unnormalized_stationary_density`, `stationary_mean`, `stationary_variance`, and
            `conditional_mean`, `conditional_variance`, in which the state is the starting value and the time the
            elapsed time.
        defaults: Example values of the parameters.

    Attributes:
        state, time, param_symbols: The SymPy symbols. All are real, and positive where their lower bound is at least 0.
        drift: The d expressions of f.
        diffusion: For diagonal noise the d expressions of g, otherwise the (d, m) matrix.
        params: The bounds of each parameter as floats, infinite where there is none.
        noise_type: `"diagonal"`, `"additive"`, `"scalar"` or `"general"`, found from G.
        separable: Whether the noise is diagonal and each g_i depends on x_i alone.
        autonomous: Whether neither f nor G depends on the time.

    Raises:
        ExpressionError: If an entry does not read as a formula.
        ModelError: If names clash or are unknown, or shapes, bounds or the domain don't fit.

    Example:
        >>> bounds = {"theta": (0, None), "mu": None, "sigma": (0, None)}
        >>> ou = SymbolicSDE("x", "theta*(mu - x)", "sigma", params=bounds)
        >>> ou
        SymbolicSDE(dx = (theta*(mu - x)) dt + (sigma) dW, ito, theta > 0, sigma > 0)
        >>> import torch
        >>> ou.at(theta=1.0, mu=0.0, sigma=0.5).drift(0.0, torch.tensor([[2.0]]))
        tensor([[-2.]])
    """

    def __init__(
        self,
        state: str | Symbol | Sequence[str | Symbol],
        drift: Entry | Sequence[Entry],
        diffusion: Any,
        params: Mapping[str, Bounds] | None = None,
        convention: Convention = "ito",
        *,
        time: str | Symbol = "t",
        domain: Any = None,
        boundary: str = "",
        name: str | None = None,
        description: str = "",
        closed_forms: Mapping[str, Entry] | None = None,
        defaults: Mapping[str, float] | None = None,
    ):
        if convention not in get_args(Convention):
            raise ModelError(f"convention must be one of {get_args(Convention)}, got {convention!r}.")
        self.convention: Convention = convention
        self.name, self.description, self.boundary = name, description, boundary

        states = [state] if isinstance(state, str | Symbol) else list(state)
        state_names = [check_name(str(s), "state") for s in states]
        time_name = check_name(str(time), "time")
        drifts = [drift] if isinstance(drift, str | Expr | int | float) else list(drift)
        shape, entries = shape_diffusion(diffusion, len(states))
        if len(drifts) != len(states):
            raise ModelError(
                f"`drift` must have one entry per state ({len(states)}: {', '.join(state_names)}), got {len(drifts)}."
            )
        if params is None:
            known = {*state_names, time_name}
            params = {n: None for entry in (*drifts, *entries) for n in names_in(entry) if n not in known}
        self.params: dict[str, tuple[float, float]] = read_bounds(params)
        self.domain = read_domain(domain, state_names)
        _check_distinct(state_names, time_name, self.params)

        self.state = tuple(_symbol(n, *bounds) for n, bounds in zip(state_names, self.domain, strict=True))
        self.time = Symbol(time_name, real=True)
        self.param_symbols = tuple(_symbol(n, *bounds) for n, bounds in self.params.items())
        self._symbols = {s.name: s for s in (*self.state, self.time, *self.param_symbols)}

        self.drift = tuple(self._read(e, f"drift of {n}") for e, n in zip(drifts, state_names, strict=True))
        self.noise_type: NoiseType
        self.diffusion, self.noise_type = self._arrange([self._read(e, "diffusion") for e in entries], shape)
        self.closed_forms = {k: self._read(e, k) for k, e in (closed_forms or {}).items()}
        self.defaults = check_values(self.params, defaults, "defaults") if defaults else {}

    def _read(self, entry: Entry, where: str) -> Expr:
        return read_entry(entry, self._symbols, tuple(self.params), where)

    def _arrange(self, entries: list[Expr], shape: Shape) -> tuple[tuple[Expr, ...] | ImmutableMatrix, NoiseType]:
        """The diffusion in its simplest form, and the noise type that this form has."""
        dim = len(self.state)
        if len(shape) == 1:
            return tuple(entries), "diagonal"
        matrix = ImmutableMatrix(*shape, entries)
        if shape == (dim, dim) and matrix.is_diagonal():
            return tuple(entries[:: dim + 1]), "diagonal"
        if shape[1] == 1:
            return matrix, "scalar"
        return matrix, "general" if matrix.free_symbols & set(self.state) else "additive"

    # What the model is

    @property
    def dim(self) -> int:
        """The number of states d."""
        return len(self.state)

    @property
    def noise_dim(self) -> int:
        """The number of Brownian motions m."""
        return self.diffusion_matrix.shape[1]

    @property
    def param_names(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of `theta`."""
        return tuple(self.params)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the states."""
        return tuple(s.name for s in self.state)

    @property
    def autonomous(self) -> bool:
        """Whether neither coefficient depends on the time."""
        return not any(self.time in e.free_symbols for e in (*self.drift, self.diffusion_matrix))

    @property
    def separable(self) -> bool:
        """Whether the noise is diagonal and g_i depends on x_i, among the states, only."""
        if self.noise_type != "diagonal":
            return False
        others = [set(self.state) - {x} for x in self.state]
        return not any(g.free_symbols & other for g, other in zip(self._diagonal, others, strict=True))

    @property
    def _diagonal(self) -> tuple[Expr, ...]:
        return cast(tuple[Expr, ...], self.diffusion)

    @property
    def diffusion_matrix(self) -> ImmutableMatrix:
        """G, of shape (d, m)."""
        return (
            self.diffusion if isinstance(self.diffusion, MatrixBase) else ImmutableMatrix(sympy.diag(*self.diffusion))
        )

    @property
    def diffusion_tensor(self) -> ImmutableMatrix:
        """D = 1/2 G G^T, of shape (d, d), which the Fokker-Planck equation uses."""
        return ImmutableMatrix(self.diffusion_matrix * self.diffusion_matrix.T / 2)

    @property
    def drift_jacobian(self) -> ImmutableMatrix:
        """d f_i / d x_j, of shape (d, d)."""
        return ImmutableMatrix(self.dim, self.dim, lambda i, j: sympy.diff(self.drift[i], self.state[j]))

    # Other forms of the same process

    def ito(self) -> "SymbolicSDE":
        """The Ito equation of the same process; itself if it is one already.

        f_ito,i = f_i + 1/2 sum_jk G_jk d G_ik / d x_j
        """
        return self if self.convention == "ito" else self._converted("ito", 1)

    def stratonovich(self) -> "SymbolicSDE":
        """The Stratonovich equation of the same process; itself if it is one already."""
        return self if self.convention == "stratonovich" else self._converted("stratonovich", -1)

    def _converted(self, convention: Convention, sign: Literal[1, -1]) -> "SymbolicSDE":
        correction = stratonovich_correction(self.diffusion_matrix, self.state)
        return self._with(
            convention=convention, drift=[f + sign * c for f, c in zip(self.drift, correction, strict=True)]
        )

    def with_bounds(self, **bounds: Bounds) -> "SymbolicSDE":
        """The same model with other bounds on some parameters.

        Raises:
            ModelError: If a name is unknown or bounds are not in order.

        Example:
            >>> SymbolicSDE("x", "-k*x", "s").with_bounds(k=(0, None)).params["k"]
            (0.0, inf)
        """
        unknown_names(self.params, bounds)
        return self._with(params={**self.params, **bounds}, defaults={})

    def fix(self, **values: float) -> "SymbolicSDE":
        """The same model with some parameters replaced by numbers, which leaves fewer to fit.

        Raises:
            ModelError: If a name is unknown or a value is outside its bounds.

        Example:
            >>> SymbolicSDE("x", "k*(mu - x)", "s").fix(mu=0).drift
            (-k*x,)
        """
        unknown_names(self.params, values)
        values = check_values({n: self.params[n] for n in values}, values, "values")
        return self._with(
            **self._expressions_at(values),
            params={n: b for n, b in self.params.items() if n not in values},
            defaults={n: v for n, v in self.defaults.items() if n not in values},
            closed_forms={k: self._substitute(e, values) for k, e in self.closed_forms.items()},
        )

    def _expressions_at(self, values: Mapping[str, float]) -> dict[str, Any]:
        diffusion: Any = self.diffusion
        if isinstance(diffusion, MatrixBase):
            diffusion = [[self._substitute(e, values) for e in diffusion.row(i)] for i in range(self.dim)]
        else:
            diffusion = [self._substitute(e, values) for e in diffusion]
        return {"drift": [self._substitute(e, values) for e in self.drift], "diffusion": diffusion}

    def _substitute(self, expression: Expr, values: Mapping[str, float]) -> Expr:
        result = expression.subs({self._symbols[n]: as_number(v) for n, v in values.items()}, simultaneous=True)
        try:
            check_supported(result)
        except ModelError as error:
            given = ", ".join(f"{n}={v:g}" for n, v in values.items())
            raise ModelError(f"{expression} has no real value at {given}. {error}") from None
        return cast(Expr, result)

    def _with(self, **changes: Any) -> "SymbolicSDE":
        kept = {
            "state": self.state_names,
            "drift": self.drift,
            "diffusion": self.diffusion,
            "params": self.params,
            "convention": self.convention,
            "time": self.time.name,
            "domain": self.domain,
            "boundary": self.boundary,
            "name": self.name,
            "description": self.description,
            "closed_forms": self.closed_forms,
            "defaults": self.defaults,
        }
        return SymbolicSDE(**{**kept, **changes})

    # Numbers

    def function(self, expressions: Any) -> Compiled:
        """Compiles any expression in the state, time and parameters into a torch function `(t, x, theta)`.

        Args:
            expressions: Text, a SymPy expression or a number; a list of n of them; or an n x m matrix or nested list.

        Returns:
            A function of `t`, `x` of shape (*batch, d) and `theta` of shape (k,) or (*batch, k), in the order of
            `param_names`, with values of shape (*batch,), (*batch, n) or (*batch, n, m). Autograd reaches all.

        Raises:
            ExpressionError: If text does not read as a formula.
            ModelError: If a symbol is unknown or a function has no torch counterpart.

        Example:
            >>> import torch
            >>> ou = SymbolicSDE("x", "-theta*x", "sigma")
            >>> log_weight = ou.function("-theta*x**2/sigma**2")
            >>> log_weight(0.0, torch.tensor([[1.0], [2.0]]), ou.theta({"theta": 1.0, "sigma": 2.0}))
            tensor([-0.2500, -1.0000])
        """
        read = lambda entry: self._read(entry, "expression")  # noqa: E731
        if isinstance(expressions, MatrixBase):
            compiled: Any = expressions.applyfunc(read)
        elif isinstance(expressions, list | tuple) and expressions and isinstance(expressions[0], list | tuple):
            compiled = sympy.Matrix([[read(entry) for entry in row] for row in expressions])
        elif isinstance(expressions, list | tuple):
            compiled = [read(entry) for entry in expressions]
        else:
            compiled = read(expressions)
        return Compiled(compiled, self.state, self.time, self.param_symbols)

    def at(self, **params: float | Tensor) -> SDE:
        """The equation with all its parameters fixed.

        Args:
            **params: A value of every parameter: numbers, or 0-d tensors. If one of the tensors requires a gradient,
                autograd reaches it through drift and diffusion.

        Raises:
            ModelError: If a parameter is missing, unknown or outside its bounds.
        """
        values = check_values(self.params, params, "parameters")
        if any(isinstance(v, Tensor) and v.requires_grad for v in params.values()):
            theta = torch.stack([torch.as_tensor(params[n], dtype=torch.float64) for n in self.params])
            drift, diffusion = (_bound(self.function(e), theta) for e in (self.drift, self.diffusion))
        else:
            fixed = self._expressions_at(values)
            drift, diffusion = (
                Compiled(fixed["drift"], self.state, self.time),
                self._fixed_diffusion(fixed["diffusion"]),
            )
        return SDE(
            drift=drift,
            diffusion=diffusion,
            dim=self.dim,
            noise_type=self.noise_type,
            sde_type=self.convention,
            noise_dim=self.noise_dim,
            separable=self.separable,
            autonomous=self.autonomous,
            domain=self.domain,
            names=self.state_names,
        )

    def _fixed_diffusion(self, entries: Any) -> Compiled:
        return Compiled(entries if self.noise_type == "diagonal" else sympy.Matrix(entries), self.state, self.time)

    def theta(self, values: Mapping[str, float]) -> Tensor:
        """The float64 vector (k,) of parameter values in the order of `param_names`.

        Raises:
            ModelError: If a parameter is missing, unknown or outside its bounds.
        """
        checked = check_values(self.params, values, "parameters")
        return torch.tensor([checked[n] for n in self.params], dtype=torch.float64)

    def named(self, theta: Tensor | Sequence[float]) -> dict[str, float]:
        """The parameter values of a vector (k,) by name.

        Raises:
            ModelError: If the length is not k.
        """
        values = [float(v) for v in theta]
        if len(values) != len(self.params):
            raise ModelError(f"Expected {len(self.params)} values for {', '.join(self.params)}, got {len(values)}.")
        return dict(zip(self.params, values, strict=True))

    # Text

    def latex(self) -> str:
        """The equation in LaTeX, without dollar signs."""
        return equation(self.state, self.time, self.drift, self.diffusion_matrix, self.convention)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts; expressions are text, and doubles are exact.

        Raises:
            ModelError: If an expression is not in the formula language, such as a SymPy `Piecewise`.
        """
        return write_record(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "SymbolicSDE":
        """The model of a dictionary that `to_dict` wrote. Formulas are read through the whitelist parser.

        Raises:
            ExpressionError: If a formula is not in the formula language.
            ModelError: If the format is unknown, or a key is missing or unknown.
        """
        return cls(**read_record(record))

    def __repr__(self) -> str:
        title = f"{self.name}: " if self.name else ""
        dot = "o " if self.convention == "stratonovich" else ""
        rows = []
        for i, x in enumerate(self.state):
            row = self.diffusion_matrix.row(i)
            number = {j: "" if self.noise_dim == 1 else str(j + 1) for j in range(self.noise_dim)}
            noise = "".join(f" + ({self._text(g)}) {dot}dW{number[j]}" for j, g in enumerate(row) if g != 0)
            rows.append(f"d{x} = ({self._text(self.drift[i])}) dt{noise}")
        bounds = [_inequality(n, *b) for n, b in self.params.items() if b != (-math.inf, math.inf)]
        return f"SymbolicSDE({title}{', '.join(['; '.join(rows), self.convention, *bounds])})"

    def _text(self, expression: Expr) -> str:
        try:
            return write_expression(expression, self._symbols)
        except ModelError:
            return str(expression)

    def _identity(self) -> tuple[Any, ...]:
        return (
            *(self.name, self.state, self.time, self.drift, self.diffusion, self.convention, self.domain),
            *(tuple(self.params.items()), tuple(self.closed_forms.items()), tuple(self.defaults.items())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymbolicSDE) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def _bound(function: Compiled, theta: Tensor) -> Any:
    return lambda t, x: function(t, x, theta)


def _symbol(name: str, lower: float, upper: float) -> Symbol:
    if lower >= 0:
        return Symbol(name, positive=True)
    return Symbol(name, negative=True) if upper <= 0 else Symbol(name, real=True)


def _check_distinct(state: Sequence[str], time: str, params: Mapping[str, object]) -> None:
    names = [*state, time, *params]
    for name in names:
        if names.count(name) > 1:
            remedy = " Pass another name of the time, such as time='s'." if name == time else ""
            raise ModelError(f"The name {name!r} is used twice among the states, the time and the parameters.{remedy}")


def _inequality(name: str, lower: float, upper: float) -> str:
    if math.isinf(upper):
        return f"{name} > {lower:g}"
    return f"{name} < {upper:g}" if math.isinf(lower) else f"{lower:g} < {name} < {upper:g}"

"""Transition densities in closed form, for the one-dimensional models that `recognise` finds.

Each density is smooth through b = 0 and twice differentiable in the parameters. Parameters that cannot have produced a
pair (a noise of zero, an observation beyond a shifted boundary, an absorbing boundary under a square root) have the
log-density -inf, as zero probability has.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import DataError, NumericalError
from pdekit.fitting.densities.bessel import log_clifford
from pdekit.fitting.densities.chi_square import noncentral_chi_square_cdf
from pdekit.fitting.densities.recognise import Family, recognise
from pdekit.symbolic import SymbolicSDE

_OVERFLOW = 300.0  # e to twice this power still leaves room for its factors
_TAYLOR = 18  # 1 / 20! is below rounding, so this many powers of |y| < 1 are exact


def closed_form(model: SymbolicSDE, pairs: Pairs) -> "ClosedForm | None":
    """The exact transition density of a model, bound to pairs of observations.

    Args:
        model: A model with one state.
        pairs: Consecutive observations, x0 and x1 of shape (N, 1).

    Returns:
        A transition density with `route`, `log_density(theta)` and `cdf(theta)`; None if the model has no closed form.

    Raises:
        DataError: If an observation lies where the model cannot be, whatever its parameters.

    Example:
        >>> import torch
        >>> from pdekit.data import Trajectories
        >>> from pdekit.symbolic import SymbolicSDE
        >>> model = SymbolicSDE(["x"], ["-k*x"], ["s"], params={"k": (0, None), "s": (0, None)})
        >>> pairs = Trajectories.from_arrays([0.0, 0.5, 1.0], [0.1, 0.3, 0.2]).pairs()
        >>> density = closed_form(model, pairs)
        >>> density.route, density.log_density(torch.tensor([1.0, 0.5], dtype=torch.float64)).shape
        ('closed form (OU)', torch.Size([2]))
    """
    family = recognise(model)
    return None if family is None else (_Normal, _SquareRoot, _LogNormal)[family.power](model, family, pairs)


class ClosedForm(ABC):
    """What the three families share: the pairs, and the coefficients as functions of the parameters.

    Args:
        model: The model that was recognised.
        family: Its family.
        pairs: The observations.
    """

    def __init__(self, model: SymbolicSDE, family: Family, pairs: Pairs) -> None:
        self.route = f"closed form ({family.name})"
        self.family = family
        self._steps, self._which = pairs.distinct()
        self._x0, self._x1 = pairs.x0[:, 0], pairs.x1[:, 0]
        self._function: Callable[..., Tensor] = model.function([family.a, family.b, family.s2, family.shift])
        self._check_support(pairs)

    @abstractmethod
    def log_density(self, theta: Tensor) -> Tensor:
        """log p(x1 | x0, dt) of every pair.

        Args:
            theta: Parameters (k,) in the model's order.

        Returns:
            A tensor (N,), twice differentiable in `theta`; -inf, with gradient 0, where `theta` rules the pair out.

        Raises:
            NumericalError: If the process grows so fast at `theta` that a single step overflows.
        """

    @abstractmethod
    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_(t+dt) <= x1 | X_t = x0) of every pair, without gradient.

        Args:
            theta: Parameters (k,) in the model's order.

        Returns:
            A tensor (N,), exact but for fine steps of the square-root process, where it is right to 2e-7.

        Raises:
            NumericalError: If `theta` rules out a pair, so that there is no such probability, or if a step overflows.
        """

    def _at(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The numbers a, b, s2, shift."""
        a, b, s2, shift = self._function(0.0, self._x0.new_zeros(1), theta).unbind(-1)
        # A boundary that does not move takes no part in gradients: at zero distance the root of the distance has none.
        return a, b, s2, shift if self.family.shift.free_symbols else shift.detach()

    def _exponents(self, b: Tensor) -> Tensor:
        """b dt of every distinct step."""
        y = b * self._steps
        if bool((y > _OVERFLOW).any()):
            raise NumericalError(
                f"Under {self.route} the slope of the drift, b = {self.family.b} = {b.item():g}, gives growth by a "
                f"factor of exp({y.max().item():g}) in one step, which overflows. Bound its parameters from above."
            )
        return y

    def _per_pair(self, per_step: Tensor) -> Tensor:
        """Spread values of the distinct steps over the pairs."""
        return per_step.index_select(0, self._which)

    def _ruled_out(self, theta: Tensor) -> Tensor:
        """-inf for every pair, still a function of theta so that a gradient exists."""
        return self._x1.new_full(self._x1.shape, -math.inf) + 0 * theta.sum()

    def _refuse(self, reason: str) -> NumericalError:
        coefficients = f"a = {self.family.a}, b = {self.family.b}, s2 = {self.family.s2}, shift = {self.family.shift}"
        return NumericalError(f"No distribution function under {self.route} with {coefficients}: {reason}.")

    def _possible(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Which pairs of signed distances to the boundary the family can produce."""
        return torch.ones_like(x1, dtype=torch.bool)

    def _check_support(self, pairs: Pairs) -> None:
        """Refuse pairs that no parameters can produce; boundaries that depend on parameters are left to the density."""
        shift, s2 = self.family.shift, self.family.s2
        side = -1.0 if s2.is_nonpositive else 1.0
        if shift.free_symbols or not (s2.is_nonnegative or s2.is_nonpositive):
            return
        possible = self._possible(side * (self._x0 - float(shift)), side * (self._x1 - float(shift)))
        if bool(possible.all()):
            return
        row = int((~possible).nonzero()[0])
        where = "on one side of" if self.family.power == 2 else "above" if side > 0 else "below"
        raise DataError(
            f"A {self.family.name} process never goes from {self._x0[row].item():g} to {self._x1[row].item():g}: "
            f"expected values {where} {float(shift):g}, where the noise vanishes; found at time "
            f"{(pairs.t[row] + pairs.dt[row]).item():g} of path {int(pairs.path[row])} ({int((~possible).sum())} such "
            "pairs). Shift the data or the boundary, or choose a model that can be there, such as Ornstein-Uhlenbeck."
        )


class _Normal(ClosedForm):
    """X1 ~ N(x0 e^(b dt) + a dt phi1(b dt), s2 dt phi1(2 b dt)), phi1(y) = (e^y - 1) / y."""

    def log_density(self, theta: Tensor) -> Tensor:
        a, b, s2, _ = self._at(theta)
        if not bool(s2 > 0):
            return self._ruled_out(theta)
        deviation, variance = self._moments(a, b, s2)
        return -0.5 * (deviation**2 / self._per_pair(variance) + self._per_pair(torch.log(2 * math.pi * variance)))

    def cdf(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            a, b, s2, _ = self._at(theta)
            if not bool(s2 > 0):
                raise self._refuse(f"s2 = {s2.item():g} must be positive")
            deviation, variance = self._moments(a, b, s2)
            return torch.special.ndtr(deviation / self._per_pair(variance.sqrt()))

    def _moments(self, a: Tensor, b: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """Distance of x1 from its conditional mean (N,), and the variance of every distinct step (K,)."""
        y = self._exponents(b)
        deviation = self._x1 - self._per_pair(torch.exp(y)) * self._x0 - self._per_pair(a * self._steps * phi1(y))
        return deviation, s2 * self._steps * phi1(2 * y)


class _LogNormal(ClosedForm):
    """log (X1 - shift) / (x0 - shift) ~ N((b - s2 / 2) dt, s2 dt), on either side of the shift."""

    def _possible(self, x0: Tensor, x1: Tensor) -> Tensor:
        return (x0 != 0) & (x1 / x0 > 0)

    def log_density(self, theta: Tensor) -> Tensor:
        _, b, s2, shift = self._at(theta)
        if not bool(s2 > 0):
            return self._ruled_out(theta)
        x0, x1 = self._x0 - shift, self._x1 - shift
        possible = self._possible(x0, x1)
        # Pairs that are ruled out get harmless values, so that their gradient is 0 and not NaN.
        x0, x1 = torch.where(possible, x0, 1.0), torch.where(possible, x1, 1.0)
        score, variance = self._score(b, s2, x0, x1)
        value = -0.5 * (score**2 + self._per_pair(torch.log(2 * math.pi * variance))) - torch.log(x1.abs())
        return torch.where(possible, value, -math.inf)

    def cdf(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            _, b, s2, shift = self._at(theta)
            x0, x1 = self._x0 - shift, self._x1 - shift
            if not (bool(s2 > 0) and bool(self._possible(x0, x1).all())):
                raise self._refuse(
                    f"s2 = {s2.item():g} must be positive and pairs stay on one side of {shift.item():g}"
                )
            score, _ = self._score(b, s2, x0, x1)
            return torch.special.ndtr(torch.sign(x0) * score)

    def _score(self, b: Tensor, s2: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised log-return (N,), and its variance over every distinct step (K,)."""
        variance = s2 * self._steps
        mean = (b - s2 / 2) * self._steps
        return (torch.log(x1 / x0) - self._per_pair(mean)) / self._per_pair(variance.sqrt()), variance


class _SquareRoot(ClosedForm):
    """2 k Y1 ~ noncentral chi-square with 2 nu + 2 degrees and noncentrality 2 k e^(b dt) y0, where Y = X - shift.

    nu = 2 a / s2 - 1 and k = 2 / (s2 dt phi1(b dt)). Where the boundary is attainable (nu < 0) it reflects. With
    v = k y1 and u = k e^(b dt) y0 the density is k e^(-u-v) (v/u)^(nu/2) I_nu(2 sqrt(u v)), which is written as
    k v^nu exp(-(sqrt u - sqrt v)^2) C with the scaled Bessel-Clifford function C, because that is regular at y0 = 0.

    Source: Cox, Ingersoll and Ross, Econometrica 53 (1985) 385-407.
    """

    def _possible(self, x0: Tensor, x1: Tensor) -> Tensor:
        return (x0 >= 0) & (x1 > 0)

    def log_density(self, theta: Tensor) -> Tensor:
        nu, log_k, y, y0, y1 = self._canonical(theta)
        if not bool((nu > -1) & torch.isfinite(nu)):
            return self._ruled_out(theta)
        possible = self._possible(y0, y1)
        y0, y1 = torch.where(possible, y0, 1.0), torch.where(possible, y1, 1.0)
        root_u = self._per_pair(torch.exp((log_k + y) / 2)) * torch.sqrt(y0)
        root_v = self._per_pair(torch.exp(log_k / 2)) * torch.sqrt(y1)
        log_k = self._per_pair(log_k)
        log_v = log_k + torch.log(y1)
        value = log_k - (root_u - root_v) ** 2 + nu * log_v + log_clifford(nu, 2 * root_u * root_v)
        return torch.where(possible, value, -math.inf)

    def cdf(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            nu, log_k, y, y0, y1 = self._canonical(theta)
            if not (bool((nu > -1) & torch.isfinite(nu)) and bool(self._possible(y0, y1).all())):
                raise self._refuse(f"2 a / s2 = {nu.item() + 1:g} must be positive and every pair inside the boundary")
            u, v = self._per_pair(torch.exp(log_k + y)) * y0, self._per_pair(torch.exp(log_k)) * y1
            below = noncentral_chi_square_cdf(2 * v, 2 * nu.item() + 2, 2 * u)
            return below if bool(self._at(theta)[2] > 0) else 1 - below

    def _canonical(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """nu; log k and b dt of every distinct step; the distances of x0 and x1 from the boundary."""
        a, b, s2, shift = self._at(theta)
        side = torch.sign(s2.detach())
        y = self._exponents(b)
        log_k = -torch.log(side * s2 * self._steps * phi1(y) / 2)
        return 2 * a / s2 - 1, log_k, y, side * (self._x0 - shift), side * (self._x1 - shift)


def phi1(y: Tensor) -> Tensor:
    """(e^y - 1) / y, smooth through y = 0 with all its derivatives.

    Args:
        y: Any shape.

    Returns:
        A tensor of the same shape.

    Example:
        >>> phi1(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 1.7183])
    """
    near = y.abs() < 1
    small, large = torch.where(near, y, 0.0), torch.where(near, 1.0, y)
    series = torch.zeros_like(y)
    for k in range(_TAYLOR, -1, -1):
        series = series * small + 1 / math.factorial(k + 1)
    return torch.where(near, series, torch.expm1(large) / large)

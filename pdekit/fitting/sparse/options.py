"""What a sparse search is asked to do."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pdekit.errors import InputError
from pdekit.fitting.sparse.library import Library

Criterion = Literal["pastis", "bic", "aic"]
NoiseForm = Literal["diagonal", "full"]


@dataclass(frozen=True)
class SparseSDE:
    r"""Find the terms of drift and noise among candidates, instead of stating a model.

    dX_i = (sum_k b_ik phi_k(X)) dt + g_i(X) dW_i with g_i^2 = sum_k c_ik psi_k(X), and as few terms as the data ask
    for: those that maximise (log-likelihood gained) - (price of a term) x (number of terms).

    Args:
        drift: Candidates phi; by default polynomials to degree 5 in one state, 3 in two, 2 in more.
        diffusion: Candidates psi of the squared noise g_i^2; by default polynomials to degree 2, without interactions
            in more than three states.
        criterion: The price of a term. `"pastis"`: log(n_0 / p) for n_0 candidates, so that a superfluous one is kept
            with a probability of about p, however many there are. `"bic"`: log(n) / 2 for n transitions. `"aic"`: 1.
        noise: `"diagonal"`: each state has noise of its own. `"full"`: one constant covariance of all, and no
            candidates for it.
        probability: The p of `"pastis"`.

    Raises:
        InputError: If an option has the wrong form.

    Source:
        Gerardos and Ronceray, Principled model selection for stochastic dynamics, Phys. Rev. Lett. 135 (2025).

    Example:
        >>> SparseSDE(drift=Library.polynomial(3), criterion="bic")
        SparseSDE(drift=Library(polynomials to degree 3), criterion='bic')
    """

    drift: Library | None = None
    diffusion: Library | None = None
    criterion: Criterion = "pastis"
    noise: NoiseForm = "diagonal"
    probability: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("drift", "diffusion"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Library):
                raise InputError(
                    f"`{name}` must be a Library, such as Library.polynomial(3) or Library.of('x', 'sin(x)'); "
                    f"got {type(value).__name__}."
                )
        for name, allowed in (("criterion", get_args(Criterion)), ("noise", get_args(NoiseForm))):
            if getattr(self, name) not in allowed:
                raise InputError(f"`{name}` must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")
        if not (isinstance(self.probability, int | float) and 0.0 < self.probability < 1.0):
            raise InputError(f"`probability` must lie between 0 and 1, got {self.probability!r}.")
        if self.noise == "full" and self.diffusion is not None:
            raise InputError(
                "noise='full' means one constant covariance, which has no candidates; leave `diffusion` out, or choose "
                "noise='diagonal'."
            )

    def drift_library(self, dim: int) -> Library:
        """The drift's candidates for d states."""
        return self.drift or Library.polynomial({1: 5, 2: 3}.get(dim, 2))

    def diffusion_library(self, dim: int) -> Library:
        """The squared noise's candidates for d states."""
        return self.diffusion or Library.polynomial(2, interactions=dim <= 3)

    def price(self, candidates: int, transitions: int) -> float:
        """What a term must gain in log-likelihood to be kept."""
        if self.criterion == "aic":
            return 1.0
        if self.criterion == "bic":
            return 0.5 * math.log(transitions)
        return math.log(candidates / self.probability)

    def prices(self, candidates: int, transitions: int) -> np.ndarray:
        """The price of each of these candidates, (candidates,)."""
        return np.full(candidates, self.price(candidates, transitions))

    def __repr__(self) -> str:
        usual = type(self).__dataclass_fields__
        given = {n: getattr(self, n) for n, f in usual.items() if getattr(self, n) != f.default}
        return f"SparseSDE({', '.join(f'{n}={v!r}' for n, v in given.items())})"

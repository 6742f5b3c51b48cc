"""The options of matching learned fields to snapshots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdekit.errors import InputError


@dataclass(frozen=True)
class SnapshotMatching:
    r"""Learn drift and diagonal noise, without a formula, from unpaired samples.

    A density p(t, x) that moves is fitted to the snapshots first: a mixture of normal laws with parameters smooth in
    time. Then hollow networks f and g, which don't depend on time, are trained so that the residual of the
    Fokker-Planck equation in logarithmic form,

        d_t log p + sum_i [f_i' + f_i s_i - g_i'^2 - g_i g_i'' - 2 g_i g_i' s_i - g_i^2 (s_i' + s_i^2) / 2],

    s = grad log p, ' = d/dx_i, vanishes where p has its mass. Laws alone don't fix f: of the drifts that they allow,
    one with a small E|f|^2 is taken, by adding `smallness` times it to the loss.

    Args:
        diffusion: g_i where it is known, one number or one per state; needed where the law does not move.
        noise: "constant", g_i independent of the state, or "state", g_i(x).
        components: Normal laws in the mixture; by default chosen on held-out samples.
        hidden: Units in the hidden layer of the network of each state.
        steps: Of training.
        batch: States in each step.
        rate: The greatest learning rate.
        smallness: Weight of E|f|^2, in units of the states' spread over the time between first and last snapshot.

    Raises:
        InputError: If an option is out of range.

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019, section 5.

    Example:
        >>> SnapshotMatching(diffusion=0.5).diffusion
        (0.5,)
    """

    diffusion: float | Sequence[float] | None = None
    noise: str = "constant"
    components: int | None = None
    hidden: int = 32
    steps: int = 2000
    batch: int = 1024
    rate: float = 5e-3
    smallness: float = 1e-3

    def __post_init__(self) -> None:
        if self.diffusion is not None:
            values = (self.diffusion,) if isinstance(self.diffusion, int | float) else tuple(self.diffusion)
            if not values or not all(isinstance(v, int | float) and 0 < v < math.inf for v in values):
                raise InputError(f"diffusion must be positive, one number or one per state, got {self.diffusion!r}.")
            object.__setattr__(self, "diffusion", tuple(float(v) for v in values))
        if self.noise not in ("constant", "state"):
            raise InputError(f"noise must be 'constant' or 'state', got {self.noise!r}.")
        for name in ("components", "hidden", "steps", "batch"):
            value = getattr(self, name)
            if not (value is None and name == "components") and not (
                isinstance(value, int) and not isinstance(value, bool) and value >= 1
            ):
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name, least in (("rate", 1e-12), ("smallness", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and least <= value < math.inf):
                raise InputError(f"{name} must be a number of at least {least:g}, got {value!r}.")


__all__ = ["SnapshotMatching"]

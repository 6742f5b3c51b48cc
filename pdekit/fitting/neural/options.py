"""What a neural fit is asked to do."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch

from pdekit.errors import InputError, ModelError
from pdekit.nets.activation import check_activation
from pdekit.nets.conditioners.checks import counts
from pdekit.training import Training

Network = Literal["mlp", "hollow"]
NoiseForm = Literal["constant", "diagonal", "cholesky"]

_TRAINING = Training()


@dataclass(frozen=True, repr=False)
class NeuralSDE:
    """Learn drift and noise as neural networks, by the likelihood of the observed transitions.

        f_i = a_i + sum_j A_ij z_j + sum_k W_ik u_k(z),    log g_i = c_i + sum_j C_ij z_j + sum_k V_ik u_k(z)

    in standardised states z. The linear part comes from a global weighted regression; u are the last hidden units of a
    network. Given u, the weights W and V are found exactly, with a ridge that the marginal likelihood chooses: of 64
    units only as many directions come into play as the data ask for. The network itself is trained by Adam on the same
    likelihood, and what it has learned is kept only where it predicts held-out blocks of time better than the untrained
    one, by more than a standard error.

    Args:
        network: `"mlp"`: all entries of f share the units of a multilayer perceptron. `"hollow"`: units of a
            `HollowNet`, of its own for each entry; for many states whose equations resemble one another.
        hidden: The number of units in each hidden layer.
        activation: Of the hidden layers, see `pdekit.nets.Activation`.
        noise: `"constant"`; `"diagonal"`: each state has noise of its own that depends on all states; `"cholesky"`:
            correlated noise, a lower triangular G(x) with a positive diagonal.
        time: Whether drift and noise depend on the time as well as on the state.
        ensemble: How many networks, from different seeds and trained with different blocks left out; the answer is
            their mean.
        held_out: The share of the data, in blocks of consecutive transitions, that each member leaves out while it
            trains. At the end the weights W and V are found from all data.
        patience: How many rounds (a fortieth of `training.steps` each, at least 50) without improvement on held-out
        data end the
            training.
        weight_decay: Of the network's own weights, as in AdamW.
        warm_start: Keep the linear part; without it f is the network alone.
        training: Steps (per member), batch, rate, and the checkpoint file from which a killed fit goes on, to the same
            last bit on a CPU; as in `pdekit.Training`. `seconds` ends it at the next round; what comes out then depends
            on the machine.
        device: Where the network is trained: "cpu" or "cuda".

    Raises:
        InputError: If an option makes no sense.

    Source:
        MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Computation 4: the marginal
        likelihood as the judge of a ridge.

    Example:
        >>> NeuralSDE(network="hollow", noise="cholesky", ensemble=5)
        NeuralSDE(network='hollow', noise='cholesky')
    """

    network: Network = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    noise: NoiseForm = "diagonal"
    time: bool = False
    ensemble: int = 5
    held_out: float = 0.2
    patience: int = 3
    weight_decay: float = 1e-4
    warm_start: bool = True
    training: Training = _TRAINING
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, allowed in (("network", get_args(Network)), ("noise", get_args(NoiseForm))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")
        try:
            object.__setattr__(self, "hidden", counts("hidden", self.hidden))
            check_activation(self.activation)
        except ModelError as error:
            raise InputError(str(error)) from None
        for name in ("ensemble", "patience"):
            value = getattr(self, name)
            if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")
        for name in ("time", "warm_start"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, got {getattr(self, name)!r}.")
        if not (isinstance(self.held_out, int | float) and 0.0 < self.held_out <= 0.5):
            raise InputError(f"held_out must be a share above 0, at most 0.5; got {self.held_out!r}.")
        if not (isinstance(self.weight_decay, int | float) and 0.0 <= self.weight_decay < 1.0):
            raise InputError(f"weight_decay must be a number from 0 to 1, got {self.weight_decay!r}.")
        if not isinstance(self.training, Training):
            raise InputError(f"training must be Training(...), got {self.training!r}.")
        try:
            if not isinstance(self.device, str):
                raise TypeError
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError, TypeError) as cause:
            raise InputError(f'device must be one that torch has here, such as "cpu", got {self.device!r}.') from cause

    @property
    def key(self) -> str:
        """What a checkpoint of this training depends on."""
        left = ("training", "device")
        own = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in left)
        return f"{own}, {self.training.steps} steps, batch {self.training.batch}, rate {self.training.rate}"

    def __repr__(self) -> str:
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return f"NeuralSDE({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


__all__ = ["Network", "NeuralSDE", "NoiseForm"]

"""Latent ODEs: irregular series as the path of a hidden state, and a recurrent network to compare them with."""

from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.flows.series import check_series
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.field import seeded
from pdekit.nets.plain import MLP
from pdekit.ode import odeint
from pdekit.ode.control import StepControl
from pdekit.ode.methods import Tsit5

_SPREAD = 0.3  # of readings about the path, where training begins
_STILL = 0.1  # of the usual initial weights of the last layer: paths begin near their start


class LatentODE(nn.Module):
    """x_k = decoder(z(t_k)) + noise with dz/dt = f(z), where a network that reads the series backwards tells z(t_0).

    Args:
        dim: Entries of a reading.
        latent: Entries of z.
        hidden: Units of f and of the decoder.
        recurrent: Units of the network that reads.
        rtol: Of the ODE, and its absolute tolerance.
        method, control: Of `odeint`.
        seed: Of the initial parameters.

    Raises:
        ModelError: If a number is none.
        InputError: If times and readings do not fit together.

    Source: R. T. Q. Chen et al., Neural ordinary differential equations, NeurIPS 2018, arXiv 1806.07366, section 5.

    Example:
        >>> model = LatentODE(2, seed=0)
        >>> t = torch.linspace(0, 1, 7).expand(3, 7)
        >>> model(t, torch.zeros(3, 7, 2), torch.linspace(0, 2, 9).expand(3, 9)).shape
        torch.Size([3, 9, 2])
    """

    def __init__(
        self,
        dim: int,
        latent: int = 4,
        hidden: int = 20,
        recurrent: int = 25,
        *,
        rtol: float = 1e-3,
        method: Any = Tsit5(),
        control: Any = StepControl(),
        seed: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("latent", latent), ("hidden", hidden), ("recurrent", recurrent)):
            check_count(name, value)
        self.dim, self.latent = dim, latent
        with seeded(seed):
            self.reader = nn.GRU(dim + 1, recurrent, batch_first=True)
            self.told = nn.Linear(recurrent, 2 * latent)
            self.field = MLP(latent, (hidden, hidden), "tanh")
            with torch.no_grad():
                *_, weight, _bias = self.field.parameters()
                weight.mul_(_STILL)
            self.decoder = MLP(latent, (hidden,), "relu", out_dim=dim)
            self.log_spread = nn.Parameter(torch.tensor(_SPREAD).log())
        self._options = {"method": method, "control": control, "rtol": rtol, "atol": rtol}

    def posterior(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log spread of z at the first time, (n, latent), from times (n, k) and readings (n, k, dim)."""
        check_series(t, x, self.dim)
        gaps = torch.cat([t.new_zeros(len(t), 1), t.diff(dim=1).flip(1)], 1)
        _, last = self.reader(torch.cat([x.flip(1), gaps[..., None]], -1))
        mean, log_spread = self.told(last[0]).chunk(2, -1)
        return mean, log_spread

    def path(self, z: Tensor, t: Tensor) -> Tensor:
        """Readings without noise at increasing times (n, m), from z (n, latent) at the first of them: (n, m, dim)."""
        found = odeint(lambda s, y: self.field(y), z, t.detach().cpu().numpy().T, **self._options)
        return self.decoder(found.y.movedim(0, 1))

    def forward(self, t: Tensor, x: Tensor, times: Tensor) -> Tensor:
        """What series (t, x) are expected to be at times (n, m) that increase, from their first reading on.

        Args:
            t: Times of the readings, (n, k).
            x: The readings, (n, k, dim).
            times: When to tell them; all rows begin at their first reading, or all of them later.

        Returns:
            Readings without noise, (n, m, dim).

        Raises:
            InputError: If a time lies before the first reading, or shapes do not fit.
        """
        mean, _ = self.posterior(t, x)
        if times.ndim != 2 or len(times) != len(t):
            raise InputError(f"Times to tell must be (n, m) = ({len(t)}, m), got {tuple(times.shape)}; see expand().")
        if bool((times[:, :1] < t[:, :1]).any()):
            raise InputError("Times must not lie before the first reading of their series: z is known there.")
        begins = torch.equal(times[:, 0], t[:, 0])
        if not begins and bool((times[:, 0] == t[:, 0]).any()):
            raise InputError("Either all series are told from their first reading on, or none: the first times differ.")
        path = self.path(mean, times if begins else torch.cat([t[:, :1], times], 1))
        return path if begins else path[:, 1:]

    def elbo(self, t: Tensor, x: Tensor, generator: torch.Generator, *, weight: float = 1.0) -> Tensor:
        """One draw of log p(x | z) - weight KL(q(z | x), N(0, 1)) for each series, (n,)."""
        mean, log_spread = self.posterior(t, x)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        path = self.path(mean + log_spread.exp() * noise, t)
        seen = torch.distributions.Normal(path, self.log_spread.exp()).log_prob(x).sum((-1, -2))
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1 - 2 * log_spread).sum(-1)
        return seen - weight * divergence


class SeriesRNN(nn.Module):
    """A recurrent network that tells the next reading from those before and the time to it; beyond, from its own.

    Args:
        dim: Entries of a reading.
        recurrent: Units.
        seed: Of the initial parameters.

    Example:
        >>> model = SeriesRNN(2, seed=0)
        >>> t = torch.linspace(0, 1, 7).expand(3, 7)
        >>> model(t, torch.zeros(3, 7, 2), torch.linspace(1.1, 2, 9).expand(3, 9)).shape
        torch.Size([3, 9, 2])
    """

    def __init__(self, dim: int, recurrent: int = 25, *, seed: int | None = None) -> None:
        super().__init__()
        check_count("dim", dim)
        check_count("recurrent", recurrent)
        self.dim = dim
        with seeded(seed):
            self.cell = nn.GRUCell(dim + 1, recurrent)
            self.out = nn.Linear(recurrent, dim)
            self.log_spread = nn.Parameter(torch.tensor(_SPREAD).log())

    def forward(self, t: Tensor, x: Tensor, times: Tensor) -> Tensor:
        """What series (t, x) are expected to be at times (n, m) after their last reading, (n, m, dim)."""
        check_series(t, x, self.dim)
        if (
            times.ndim != 2
            or len(times) != len(t)
            or not bool((torch.cat([t[:, -1:], times], 1).diff(dim=1) > 0).all())
        ):
            raise InputError("Times to tell must be (n, m), increase, and come after the last reading of each series.")
        h, _ = self._read(t, x, times[:, :1] - t[:, -1:])
        found = []
        for k in range(times.shape[1]):
            found.append(self.out(h))
            if k + 1 < times.shape[1]:
                h = self.cell(torch.cat([found[-1], times[:, k + 1 : k + 2] - times[:, k : k + 1]], -1), h)
        return torch.stack(found, 1)

    def elbo(self, t: Tensor, x: Tensor, generator: torch.Generator, *, weight: float = 1.0) -> Tensor:
        """log p of each series after its first reading, (n,); called as that of `LatentODE`, nothing is random."""
        _, told = self._read(t[:, :-1], x[:, :-1], t[:, -1:] - t[:, -2:-1])
        return torch.distributions.Normal(told, self.log_spread.exp()).log_prob(x[:, 1:]).sum((-1, -2))

    def _read(self, t: Tensor, x: Tensor, last_gap: Tensor) -> tuple[Tensor, Tensor]:
        """The state after all readings, told of the gap to the next, and what was expected after each."""
        check_series(t, x, self.dim)
        gaps = torch.cat([t.diff(dim=1), last_gap], 1)
        h, told = x.new_zeros(len(x), self.cell.hidden_size), []
        for k in range(x.shape[1]):
            h = self.cell(torch.cat([x[:, k], gaps[:, k : k + 1]], -1), h)
            told.append(self.out(h))
        return h, torch.stack(told, 1)


__all__ = ["LatentODE", "SeriesRNN"]

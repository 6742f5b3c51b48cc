r"""Autocorrelation of irregular and broken records.

Observations are put into slots of equal width with a mask, so that gaps, jittered steps and several paths need no
special care: with y the centered values, m the mask, rho(k) = sum_i y_i y_{i+k} / sum_i m_i m_{i+k} / variance.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.data import Trajectories

_LAGS = 50
_MOST_SLOTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Autocorrelation:
    """Autocorrelation of each state against the lag.

    Attributes:
        lags: (m,), in the data's time unit; the first is 0.
        values: (..., m, d); NaN where no two observations are that far apart.
    """

    lags: Tensor
    values: Tensor


def autocorrelation(
    times: tuple[Tensor, ...], values: tuple[Tensor, ...], *, slot: float, lags: int
) -> Autocorrelation:
    """The autocorrelation of records, pooled over paths and centered at their common mean.

    Args:
        times: Per path, (n_p,).
        values: Per path, (n_p, d), or (n_p, records, d) for many records at the same times.
        slot: The width of a slot, for example the median step.
        lags: How many lags beyond 0, each one slot.

    Returns:
        Values (lags + 1, d) or (records, lags + 1, d).

    Example:
        >>> t, x = torch.arange(4.0), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).double()
        >>> autocorrelation((t,), (x,), slot=1.0, lags=2).values[:, 0].tolist()
        [1.0, -1.0, 1.0]
    """
    single = values[0].dim() == 2
    records = [x[:, None] if single else x for x in values]
    count = sum(len(x) for x in records)
    mean = torch.stack([x.sum(0) for x in records]).sum(0) / count
    variance = torch.stack([((x - mean) ** 2).sum(0) for x in records]).sum(0) / count
    pairs = torch.zeros(lags + 1, dtype=torch.float64)
    products = torch.zeros(lags + 1, *mean.shape, dtype=torch.float64)
    for t, x in zip(times, records, strict=True):
        index = torch.round((t - t[0]) / slot).long()
        if int(index[-1]) >= _MOST_SLOTS:  # gaps far longer than all that is observed: leave them out
            index = torch.unique(index, return_inverse=True)[1]
        length = int(index[-1]) + 1
        mask = torch.zeros(length, dtype=torch.float64).index_add_(0, index, torch.ones(len(t), dtype=torch.float64))
        filled = torch.zeros(length, *mean.shape, dtype=torch.float64).index_add_(0, index, x - mean)
        pairs += _lagged(mask, lags)
        # A share of the records at a time, because the transforms of all of them would fill the memory.
        share = max(1, 2_000_000 // length)
        for first in range(0, mean.shape[0], share):
            chosen = slice(first, first + share)
            products[:, chosen] += _lagged(filled[:, chosen], lags)
    pairs = torch.where(pairs.round() > 0, pairs, torch.nan)
    rho = (products / pairs[:, None, None] / variance).transpose(0, 1)
    # Slots can hold several observations, whose squares are not all that lag 0 has.
    rho[:, 0] = 1.0
    return Autocorrelation(slot * torch.arange(lags + 1, dtype=torch.float64), rho[0] if single else rho)


def _lagged(y: Tensor, lags: int) -> Tensor:
    """sum_i y_i y_{i+k} for k = 0 ... lags along the first dimension."""
    size = 2 ** math.ceil(math.log2(len(y) + lags + 1))
    power = torch.fft.rfft(y, size, dim=0).abs().square()
    return torch.fft.irfft(power, size, dim=0)[: lags + 1]


def slot_and_lags(data: Trajectories) -> tuple[float, int]:
    """The width and number of lags that show the decay, over at most a quarter of the longest path."""
    dt = float(data.pairs().dt.median())
    longest = max(float(t[-1] - t[0]) for t in data.times)
    most = max(1, min(int(0.25 * longest / dt), _MOST_SLOTS // 2))
    rho = autocorrelation(data.times, data.values, slot=dt, lags=most).values
    low = (rho.nan_to_num(nan=1.0).abs() < math.exp(-1)).all(-1)
    decay = int(low.nonzero()[0]) if bool(low.any()) else most
    reach = min(most, max(12, 5 * decay))
    stride = max(1, round(reach / _LAGS))
    return stride * dt, max(1, reach // stride)


def simulated_band(autocorrelations: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
    """Lower end, median and upper end over simulated records, each (m, d), from (records, m, d)."""
    tail = 0.5 * (1.0 - level)
    low, middle, high = torch.nanquantile(
        autocorrelations, torch.tensor([tail, 0.5, 1.0 - tail], dtype=torch.float64), dim=0
    )
    return low, middle, high

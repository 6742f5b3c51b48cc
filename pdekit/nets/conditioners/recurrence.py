"""An exclusive linear recurrence over many positions, without a loop over positions and without a division.

    forward:   s_j = a s_{j-1} + e_{j-1},        backward:   s_j = a s_{j+1} + e_{j+1},        a = exp(-rate) < 1

Inside a chunk of some twenty positions the states are a strictly triangular matrix of powers of a times the entries;
the states at the borders of the chunks form such a recurrence themselves, with a^chunk for a. All powers are computed
as exp(-rate k) with rate k >= 0, so nothing overflows at any rate. Dividing by the cumulative product of the decays, a
well-known short cut, would lose every digit where that product underflows.

Source: G. E. Blelloch, Prefix sums and their applications, Carnegie Mellon University 1990: scans by blocks.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

# Of 8, 16, 32 and 64 positions, 16 and 32 were fastest: work grows with the chunk, but processors want matrices of at
# least 16. There are so few borders that one larger matrix costs less than one more level.
SHORTEST, LONGEST, MOST_BORDERS = 16, 32, 64


def step_table() -> Tensor:
    """Constants (2, 65, 64) of every recurrence: the steps k on the way to the state in each column, and a mask.

    Row 0 counts from the state at the start, row 1 + i from entry i. Where the entry does not come before the state,
    the mask is 0, and k is 0 as well so that a^k stays finite.
    """
    position = torch.arange(MOST_BORDERS)
    steps = torch.cat([position.unsqueeze(0), position - position.unsqueeze(1) - 1])
    return torch.stack([steps.clamp(min=0), steps >= 0]).to(torch.get_default_dtype())


def chunk_length(length: int) -> int:
    """How many positions a chunk gets: a divisor of `length` between 16 and 32 where there is one, else 16."""
    return next((chunk for chunk in range(SHORTEST, LONGEST + 1) if length % chunk == 0), SHORTEST)


class ExclusiveScan:
    """The states s of the recurrence, of which s_j has seen what comes before j in its direction, and never e_j itself.

    Args:
        rate: Minus the logarithms of the decays, positive, shape (2, channels): forward and backward.
        steps: The `step_table`, in the dtype and on the device of `rate`.

    One object serves the pieces of a long sequence in turn, so that its matrices of powers are made once.

    Example:
        >>> scan = ExclusiveScan(torch.tensor([[0.6931472], [0.6931472]]), step_table())  # a = 1/2 both ways
        >>> scan(torch.tensor([[[4.0, 2.0, 1.0, 0.0]]]))
        tensor([[[0., 4., 4., 3.]]])
        >>> scan(torch.tensor([[[4.0, 2.0, 1.0, 0.0]]]), backward=True)
        tensor([[[2.5000, 1.0000, 0.0000, 0.0000]]])
    """

    def __init__(self, rate: Tensor, steps: Tensor) -> None:
        self.rate = rate[..., None, None]
        self.steps, self.before = steps.unbind()
        self.powers: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        self.decays: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, e: Tensor, backward: bool = False, start: Tensor | None = None, stride: int = 1) -> Tensor:
        """States (channels, rows, length) of entries of that shape.

        Args:
            e: The entries.
            backward: The direction.
            start: The state (channels, rows) at the first position in that direction; zero if left out.
            stride: How many positions an entry stands for: the decay is a^stride.
        """
        channels, rows, length = e.shape
        if length <= (LONGEST if stride == 1 else MOST_BORDERS):
            triangle, onward = self._powers(length, stride)[backward]
            states = torch.bmm(e, triangle)
            return states if start is None else torch.addcmul(states, start.unsqueeze(-1), onward)
        chunk = chunk_length(length)
        count = -(-length // chunk)
        filling = count * chunk - length
        if filling:
            # Zeros behind the last position of the direction change no state.
            e = pad(e, (filling, 0) if backward else (0, filling))
        e = e.reshape(channels, rows * count, chunk)
        triangle, onward = self._powers(chunk, stride)[backward]
        inside = torch.bmm(e, triangle)
        ends = self.end(e, inside, backward, stride).view(channels, rows, count)
        borders = self(ends, backward, start, stride * chunk).reshape(channels, -1, 1)
        states = torch.addcmul(inside, borders, onward).view(channels, rows, count * chunk)
        if filling:
            states = states[..., filling:] if backward else states[..., :length]
        return states

    def end(self, e: Tensor, states: Tensor, backward: bool = False, stride: int = 1) -> Tensor:
        """The state (channels, rows) one position past the last in the direction, where the next piece starts."""
        if stride not in self.decays:
            self.decays[stride] = torch.exp(self.rate[..., 0] * -stride).unbind()
        last = 0 if backward else -1
        return torch.addcmul(e[..., last], states[..., last], self.decays[stride][backward])

    def _powers(self, length: int, stride: int) -> list[tuple[Tensor, Tensor]]:
        """By direction a^(stride k) from entries, (channels, length, length), and from the start, (.., 1, length)."""
        key = (length, stride)
        if key not in self.powers:
            there = (slice(length + 1), slice(length))
            powers = torch.exp(self.rate * -stride * self.steps[there]) * self.before[there]
            forward, backward = powers.unbind()
            self.powers[key] = [(forward[:, 1:], forward[:, :1]), (backward[:, 1:].mT, backward[:, :1].flip(-1))]
        return self.powers[key]


__all__ = ["ExclusiveScan", "chunk_length", "step_table"]

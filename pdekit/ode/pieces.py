"""Which step of which sample holds a time, for many at once."""

from dataclasses import dataclass

import numpy as np

from pdekit.errors import InputError
from pdekit.ode.march import Segment


@dataclass(frozen=True, eq=False)
class Pieces:
    """All steps of all samples, those of one sample side by side in the order in which they were made.

    Args:
        sample: Whose step, (pieces,).
        segment: In which segment, (pieces,).
        position: Where in it, (pieces,).
        start: Where the step begins, (pieces,).
        end: Where it ends, (pieces,).
        way: 1 forwards, -1 backwards, (pieces,).
    """

    sample: np.ndarray
    segment: np.ndarray
    position: np.ndarray
    start: np.ndarray
    end: np.ndarray
    way: np.ndarray

    @classmethod
    def of(cls, segments: list[Segment]) -> "Pieces":
        """Look through all segments once."""
        sizes = [len(s.rows) for s in segments]
        nothing = [np.zeros(0)]
        sample = np.concatenate([np.zeros(0, dtype=np.int64), *(s.rows for s in segments)])
        order = np.argsort(sample, kind="stable")
        return cls(
            sample[order],
            np.repeat(np.arange(len(segments)), sizes)[order],
            np.concatenate([np.zeros(0, dtype=np.int64), *map(np.arange, sizes)])[order],
            np.concatenate(nothing + [s.t for s in segments])[order],
            np.concatenate(nothing + [s.until for s in segments])[order],
            np.sign(np.concatenate(nothing + [s.h for s in segments]))[order],
        )

    def ends(self, sample: int) -> np.ndarray:
        """The times at which the steps of a sample begin, and where the last one ends; none if it made no step."""
        first, after = self._range(np.array(sample))
        return np.append(self.start[first:after], self.end[after - 1]) if first < after else np.zeros(0)

    def holding(self, samples: np.ndarray, times: np.ndarray) -> np.ndarray:
        """For samples (m,) and times (m,) the last of the sample's steps that begins no later, (m,).

        Raises:
            InputError: If a sample made no step, or a time lies outside of what was integrated.
        """
        low, high = self._range(samples)
        if (low == high).any():
            raise InputError(f"Sample {samples[low == high][0]} made no step: it has no states between its times.")
        way, first, last = self.way[low], self.start[low], self.end[high - 1]
        outside = (way * (times - first) < 0) | (way * (times - last) > 0)
        if outside.any():
            i = np.flatnonzero(outside)[0]
            raise InputError(
                f"Sample {samples[i]} was integrated from {first[i]:g} to {last[i]:g}, got t = {times[i]:g}."
            )
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) // 2
            begun = way * (times - self.start[middle]) >= 0
            low, high = np.where(begun, middle, low), np.where(begun, high, middle)
        return low

    def _range(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, right = (np.searchsorted(self.sample, samples, side=side) for side in ("left", "right"))
        return left, right


__all__ = ["Pieces"]

"""Seeds of random numbers: what is none is refused where it is given, not where it is used."""

from typing import Any

from pdekit.errors import InputError


def check_seed(seed: Any, bits: int = 62) -> None:
    """Refuse what is no whole number from 0 to below 2^bits.

    Raises:
        InputError: With what came.

    Example:
        >>> check_seed(-1)
        Traceback (most recent call last):
        ...
        pdekit.errors.InputError: seed must be a whole number from 0 to below 2^62, got -1.
    """
    if isinstance(seed, bool) or not (isinstance(seed, int) and 0 <= seed < 2**bits):
        raise InputError(f"seed must be a whole number from 0 to below 2^{bits}, got {seed!r}.")


__all__ = ["check_seed"]

"""`python -m verification.mutants.trial NAME`: plants one mutant and runs its area's checks until one fails.

`control` plants nothing and runs all checks. One line of JSON comes out: mutant, caught, by, message, seconds.
"""

import json
import sys
import time
from typing import Any

from verification.mutants import catalogue, planting

CONTROL = "control"
_LONGEST_MESSAGE = 300


def run(name: str) -> dict[str, Any]:
    """Plant a mutant in this process and hold the checks of its area against it.

    Args:
        name: Its name, or `"control"`.

    Raises:
        PlantingError: If it can't be planted.
        KeyError: If there is no such mutant.
    """
    mutant = None if name == CONTROL else catalogue.mutant(name)
    if mutant is not None:
        planting.plant(mutant)
    # Imports pdekit, with the fault in it.
    from verification.mutants.checks import AREAS

    begun = time.perf_counter()
    by, message = None, ""
    for check, function in _checks(AREAS, None if mutant is None else mutant.area):
        try:
            function()
        except Exception as failure:  # whatever a fault makes of the code under a check is a catch
            by, message = check, f"{type(failure).__name__}: {failure}"[:_LONGEST_MESSAGE]
            break
    seconds = round(time.perf_counter() - begun, 2)
    return {"mutant": name, "caught": by is not None, "by": by, "message": message, "seconds": seconds}


def _checks(areas: dict[str, dict[str, Any]], chosen: str | None) -> list[tuple[str, Any]]:
    return [pair for area, checks in areas.items() if chosen in (None, area) for pair in checks.items()]


def main() -> int:
    """Exit status 0 whatever was found; 2 if the trial could not be made."""
    if len(sys.argv) != 2:
        print("usage: python -m verification.mutants.trial NAME|control", file=sys.stderr)
        return 2
    try:
        print(json.dumps(run(sys.argv[1])))
    except (planting.PlantingError, KeyError) as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Export the example data: quarterly US Treasury bill rates, from the data sets that statsmodels ships.

Run once, with statsmodels installed (it is not a dependency of pdekit): python examples/make_data.py
"""

import csv
import io
from calendar import monthrange
from datetime import date
from pathlib import Path

from statsmodels.datasets import macrodata

from pdekit import Trajectories

TARGET = Path(__file__).parent / "data" / "us_tbill.csv"


def quarter_end(year: int, quarter: int) -> date:
    """The last day of a quarter."""
    month = 3 * quarter
    return date(year, month, monthrange(year, month)[1])


def main() -> None:
    """Write the file, then read it back and compare it with its source."""
    source = macrodata.load_pandas().data
    rates = [float(rate) for rate in source["tbilrate"]]
    days = [quarter_end(int(y), int(q)) for y, q in zip(source["year"], source["quarter"], strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["date", "rate"])
    writer.writerows(zip(days, rates, strict=True))
    TARGET.write_text(text.getvalue(), encoding="utf-8")

    data = Trajectories.from_csv(TARGET, time="date", columns=["rate"])
    if data.values[0][:, 0].tolist() != rates or data.n_observations != 203 or data.origin != "1959-03-31":
        raise SystemExit(f"{TARGET} does not hold the 203 rates of its source, starting on 1959-03-31.")
    print(f"{TARGET}\n{data.describe()}")


if __name__ == "__main__":
    main()

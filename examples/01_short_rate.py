"""Which power of the rate does the noise of the US T-bill rate grow with?

Fits CKLS, dr = (alpha + beta r) dt + sigma r^gamma dW, and its special cases gamma = 0 (Vasicek), 1/2 (CIR) and 1, to
203 quarterly rates, compares them by likelihood ratios, and draws the noise that each finds.

    python examples/01_short_rate.py [FOLDER]
"""

import sys
from pathlib import Path

import pdekit as pk
from pdekit.fitting.display.curves import coefficient_curve
from pdekit.report.style import BAND, FITTED, REFERENCE, add_legend, new_figure

HERE = Path(__file__).parent
NAMES = {0.0: "Vasicek, gamma = 0", 0.5: "CIR, gamma = 1/2", 1.0: "gamma = 1"}


def main(folder: Path) -> None:
    """Fits, prints the comparison and writes the picture to `folder`."""
    data = pk.Trajectories.from_csv(HERE / "data" / "us_tbill.csv", time="date", columns=["rate"])
    free = pk.fit(pk.models.ckls(), data)
    held = {power: pk.fit(pk.models.ckls(), data, fixed={"gamma": power}) for power in NAMES}

    print(free.summary())
    print("2 (log-likelihood of CKLS - that of its special case); above 3.84 the case is rejected at 5 %:")
    for power, name in NAMES.items():
        print(f"  {name:20s} {2 * (free.loglik - held[power].loglik):8.2f}")

    figure, axes = new_figure(wide=True)
    curve = coefficient_curve(free.evidence, "diffusion", 0)
    lower, upper = curve.band(0.95)
    axes.fill_between(curve.x, lower, upper, color=BAND, alpha=0.45, lw=0, label="95 % band of CKLS")
    axes.plot(curve.x, curve.value, color=FITTED, label=f"CKLS, gamma = {free.params['gamma'].estimate:.2f}")
    for (power, fit), style in zip(held.items(), (":", "--", "-."), strict=True):
        other = coefficient_curve(fit.evidence, "diffusion", 0)
        axes.plot(other.x, other.value, style, color=REFERENCE, label=NAMES[power])
    axes.set(xlabel="rate (per cent)", ylabel="noise g (per cent per √year)", ylim=(0, None))
    add_legend(axes)
    figure.savefig(folder / "01_short_rate.png", dpi=150)
    print(f"Picture: {folder / '01_short_rate.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())

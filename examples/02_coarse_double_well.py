"""What does coarse sampling do to an estimate? A double well observed every half unit of time.

Simulates dx = (x - x^3) dt + 0.5 dW, keeps 5000 observations at dt = 0.5, and fits it by the Euler likelihood and by
the Fokker-Planck likelihood: the same data and the same model, only the transition density differs.

    python examples/02_coarse_double_well.py [FOLDER]
"""

import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.fitting.display.curves import coefficient_curve
from pdekit.report.style import BAND, FITTED, OBSERVED, SIMULATED, add_legend, new_figure


def main(folder: Path) -> None:
    """Simulates, fits twice, prints both and writes the picture to `folder`."""
    model = pk.models.double_well()
    truth = {"a": 1.0, "b": 1.0, "sigma": 0.5}
    times = torch.arange(5001, dtype=torch.float64) * 0.5
    path = pk.simulate(model.at(**truth), 1.0, times, dt=0.05, seed=1)
    data = pk.Trajectories.from_arrays(path.times, path.values[:, 0], time_unit="s")
    fits = {method: pk.fit(model, data, method=method) for method in ("euler", "fokker-planck")}

    print(f"{'':15s}" + "".join(f"{name:>18s}" for name in truth))
    print(f"{'truth':15s}" + "".join(f"{value:18.3f}" for value in truth.values()))
    for method, fit in fits.items():
        row = (f"{fit.params[name].estimate:.3f} ± {fit.params[name].stderr:.3f}" for name in truth)
        print(f"{method:15s}" + "".join(f"{text:>18s}" for text in row))

    figure, axes = new_figure(wide=True)
    curve = coefficient_curve(fits["fokker-planck"].evidence, "drift", 0)
    lower, upper = curve.band(0.95)
    axes.fill_between(curve.x, lower, upper, color=BAND, alpha=0.45, lw=0, label="its 95 % band")
    axes.plot(curve.x, curve.value, color=FITTED, label="Fokker-Planck likelihood")
    euler = coefficient_curve(fits["euler"].evidence, "drift", 0)
    axes.plot(euler.x, euler.value, color=SIMULATED, label="Euler likelihood")
    axes.plot(curve.x, curve.x - curve.x**3, "--", color=OBSERVED, label="truth")
    axes.set(xlabel="x", ylabel="drift (per s)")
    add_legend(axes)
    figure.savefig(folder / "02_coarse_double_well.png", dpi=150)
    print(f"Picture: {folder / '02_coarse_double_well.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())

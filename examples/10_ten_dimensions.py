"""Three modes in ten dimensions: two methods without a grid, and what they say of their own errors.

A mixture of three normal laws under a linear drift stays one, so that its density is known at any time. Neither method
is told so. One moves a mixture by the least squares of the Fokker-Planck residual, the other learns the score from
simulated paths; both then measure their errors by weighted paths that run backwards.

    python examples/10_ten_dimensions.py [FOLDER]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import pdekit as pk

DIM, TIME = 10, 0.5
PATHS, STEPS = 20_000, 400  # of the learned score; ten times as many bring it to some hundredths of a nat


def problem() -> pk.FokkerPlanckProblem:
    """A drift whose matrix is not normal, noise that is correlated, and three modes at the start."""
    generator = torch.Generator().manual_seed(0)
    matrix = -torch.eye(DIM) - torch.diag(torch.full((DIM - 1,), 0.8), 1)
    mixing = torch.eye(DIM) + 0.2 * torch.randn(DIM, DIM, generator=generator)
    sde = pk.SDE(
        lambda t, x: x @ matrix.T.to(x),
        lambda t, x: mixing.to(x).expand(*x.shape[:-1], DIM, DIM),
        dim=DIM,
        noise_type="additive",
        autonomous=True,
    )
    means = 4.5 * torch.nn.functional.normalize(torch.randn(3, DIM, generator=generator)).double()
    parts = MultivariateNormal(means, 0.3 * torch.eye(DIM).double().expand(3, DIM, DIM))
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return pk.FokkerPlanckProblem(sde, initial=MixtureSameFamily(Categorical(weights), parts))


def main(folder: Path) -> None:
    """Solves, compares with the formula and writes the picture to `folder`."""
    start = problem()
    exact = start.solve([TIME], pk.ClosedForm()).at(TIME)
    x = exact.sample(5000, seed=1)
    training = pk.Training(steps=STEPS)
    methods = {
        "moving mixture": pk.Residual(),
        "learned score": pk.Score(paths=PATHS, snapshots=10, hidden=(64, 64), training=training),
    }
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    away = x - x.mean(0)
    axes[0].scatter(*(away @ torch.linalg.svd(away, full_matrices=False).Vh[:2].T).T, s=2)
    axes[0].set(title="Samples, seen where they are widest", xlabel="first direction", ylabel="second direction")
    for ax, (name, method) in zip(axes[1:], methods.items(), strict=True):
        solution = start.solve([TIME], method)
        off = solution.log_pdf(TIME, x) - exact.log_pdf(x)
        rms, said = off.square().mean().sqrt(), solution.notes["log p off by"]
        print(f"{name}: rms error of log p {rms:.2g} nats, it says {said}")
        print(f"  mass {solution.mass[0]:.5f}")
        ax.plot(*[[float(exact.log_pdf(x).min()), float(exact.log_pdf(x).max())]] * 2, color="0.6", lw=1)
        ax.scatter(exact.log_pdf(x), solution.log_pdf(TIME, x), s=2)
        ax.set(title=f"log p: {name}", xlabel="exact", ylabel="found")
    closed = start.solve([TIME], pk.ClosedForm()).report().rows[0].closure
    print(f"A single normal law with the right moments would be off by {closed.log_rms:.2g} nats")
    figure.tight_layout()
    figure.savefig(folder / "10_ten_dimensions.png", dpi=150)
    print(f"Picture: {folder / '10_ten_dimensions.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())

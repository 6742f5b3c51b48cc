"""Solves the plane Ornstein-Uhlenbeck problem with a peer and prints one JSON line. Runs in whichever Python has it.

    python peer_worker.py PEER TASK.json OUT.npz      # PEER in fplanck, pde
    # TASK.json: a (2, 2), mean (2,), covariance (2, 2), time, extent (low, high) of both axes, cells of each
    # OUT.npz: x, y (cells,), p (cells, cells) at cell centres

dX = a X dt + sqrt(2) dW. Only NumPy and the peer are imported, so the peer's requirements need not fit pdekit's.
"""

import json
import sys
import time

import numpy as np


def start(task, x, y):
    """The normal density at the start."""
    away = np.stack(np.meshgrid(x, y, indexing="ij"), -1) - task["mean"]
    s = np.array(task["covariance"])
    level = np.einsum("...i,ij,...j->...", away, np.linalg.inv(s), away)
    return np.exp(-0.5 * level) / (2 * np.pi * np.sqrt(np.linalg.det(s)))


def fplanck(task):
    """fplanck: the master equation on a grid around zero; k T = 1 and drag 1 make D = 1 and force the drift."""
    from fplanck import boundary, fokker_planck
    from scipy.constants import k

    (low, high), cells, a = task["extent"], task["cells"], np.array(task["a"])
    begun = time.perf_counter()
    problem = fokker_planck(
        temperature=1 / k,
        drag=1.0,
        extent=[high - low] * 2,
        resolution=(high - low) / cells,
        boundary=boundary.reflecting,
        force=lambda x, y: np.array([a[0, 0] * x + a[0, 1] * y, a[1, 0] * x + a[1, 1] * y]),
    )
    x, y = problem.axes
    width = (x[1] - x[0]) * (y[1] - y[0])
    share = problem.propagate(lambda *grid: start(task, x, y) * width, task["time"])
    return time.perf_counter() - begun, x, y, share / width


def pde(task):
    """py-pde: central differences of the equation in conservative form, explicit with adaptive steps."""
    from pde import PDE, CartesianGrid, ScalarField

    (low, high), cells, a = task["extent"], task["cells"], np.array(task["a"])
    begun = time.perf_counter()
    grid = CartesianGrid([[low, high]] * 2, cells)
    x, y = grid.axes_coords
    drift = [f"({a[i, 0]} * x + {a[i, 1]} * y) * p" for i in range(2)]
    equation = PDE({"p": f"laplace(p) - d_dx({drift[0]}) - d_dy({drift[1]})"}, bc={"value": 0})
    field = ScalarField(grid, start(task, x, y))
    found = equation.solve(field, t_range=task["time"], dt=1e-4, adaptive=True, tracker=None)
    return time.perf_counter() - begun, x, y, found.data


def main() -> None:
    """Solve with one peer."""
    name, path, out = sys.argv[1:]
    with open(path) as file:
        task = json.load(file)
    seconds, x, y, p = {"fplanck": fplanck, "pde": pde}[name](task)
    np.savez(out, x=x, y=y, p=p)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

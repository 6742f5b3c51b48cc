"""Fits the double well with the peers and prints one JSON line per fit. Runs alone, in whichever Python has the peers.

    python peer_worker.py PEER SERIES.npz      # PEER in sfi_linear, sfi_parametric, kramersmoyal
    # SERIES.npz: x (n + 1,), dt (), grid (m,): where the estimated drift is reported

Only NumPy and the peer are imported, so the peer's requirements need not fit pdekit's.
"""

import json
import sys
import time

import numpy as np


def sfi(series, parametric):
    """Drift a x + b x^3 with StochasticForceInference: linear regression, or its noise-aware parametric estimator."""
    from SFI import OverdampedLangevinInference, TrajectoryCollection
    from SFI.bases import monomials_degree

    basis = monomials_degree(1, dim=1, rank="vector") & monomials_degree(3, dim=1, rank="vector")
    begun = time.perf_counter()
    inference = OverdampedLangevinInference(
        TrajectoryCollection.from_arrays(X=series["x"][:, None], dt=float(series["dt"]))
    )
    if parametric:
        inference.infer_force(basis)
    else:
        inference.compute_diffusion_constant()
        inference.infer_force_linear(basis)
    seconds = time.perf_counter() - begun
    drift = np.asarray(inference.force_inferred(series["grid"][:, None]), dtype=float).ravel()
    sigma = float(np.sqrt(2 * np.asarray(inference.diffusion_average).item()))
    return seconds, drift, np.full_like(drift, sigma)


def kernel(series):
    """Pointwise drift and diffusion with kramersmoyal's defaults (kernel, bandwidth, bins)."""
    from kramersmoyal import km

    dt = float(series["dt"])
    begun = time.perf_counter()
    moments, edges = km(series["x"], powers=2)
    seconds = time.perf_counter() - begun
    drift = np.interp(series["grid"], edges[0], moments[1] / dt)
    sigma = np.sqrt(2 * np.interp(series["grid"], edges[0], moments[2] / dt))
    return seconds, drift, sigma


def main() -> None:
    """Fit one series with one peer."""
    name, path = sys.argv[1:]
    with np.load(path) as file:
        series = dict(file)
    fits = {
        "sfi_linear": lambda: sfi(series, False),
        "sfi_parametric": lambda: sfi(series, True),
        "kramersmoyal": lambda: kernel(series),
    }
    seconds, drift, sigma = fits[name]()
    print(json.dumps({"seconds": seconds, "drift": drift.tolist(), "sigma": sigma.tolist()}))


if __name__ == "__main__":
    main()

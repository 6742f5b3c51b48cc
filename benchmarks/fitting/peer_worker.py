"""Fits a series with a peer and prints one JSON line. Runs alone, in whichever Python has the peers.

    python peer_worker.py PEER SERIES.npz      # PEER in sfi_linear, sfi_parametric, kramersmoyal, pysindy
    # SERIES.npz: x (n + 1,), dt (), grid (m,): where the estimated drift is reported; for pysindy x (n + 1, d), dt ()

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


def sindy(series):
    """The terms of every drift by pysindy's thresholded least squares, candidates to degree 2, at some thresholds."""
    import pysindy

    found = {}
    for threshold in (0.1, 0.2, 0.5):
        optimizer = pysindy.STLSQ(threshold=threshold)
        model = pysindy.SINDy(optimizer=optimizer, feature_library=pysindy.PolynomialLibrary(degree=2))
        model.fit(series["x"], t=float(series["dt"]))
        names = model.get_feature_names()
        kept = [[name for name, value in zip(names, row, strict=True) if value] for row in model.coefficients()]
        found[f"{threshold:g}"] = kept
    return found


def main() -> None:
    """Fit one series with one peer."""
    name, path = sys.argv[1:]
    with np.load(path) as file:
        series = dict(file)
    if name == "pysindy":
        print(json.dumps(sindy(series)))
        return
    fits = {
        "sfi_linear": lambda: sfi(series, False),
        "sfi_parametric": lambda: sfi(series, True),
        "kramersmoyal": lambda: kernel(series),
    }
    seconds, drift, sigma = fits[name]()
    print(json.dumps({"seconds": seconds, "drift": drift.tolist(), "sigma": sigma.tolist()}))


if __name__ == "__main__":
    main()

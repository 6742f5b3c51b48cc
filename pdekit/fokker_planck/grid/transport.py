"""Transport without diffusion: upwind-biased fluxes of third order, as a sparse matrix.

Along each axis the flux between nodes k and k + 1 of F = r q, for r > 0 there, is (-F_{k-1} + 5 F_k + 2 F_{k+1}) / 6,
mirrored for r < 0; first order where a node is missing. Mass is conserved; the scheme is linear, and therefore not
positive (Godunov): small negative values are mended after each step, see `evolve`.

Source: C.-W. Shu and S. Osher, Efficient implementation of essentially non-oscillatory shock-capturing schemes,
J. Comput. Phys. 77 (1988) 439 (fluxes of nodal values).
"""

import numpy as np
import scipy.sparse as sp

from pdekit.fokker_planck.grid.mesh import Mesh

_BIASED = ((-1, -1.0 / 6.0), (0, 5.0 / 6.0), (1, 2.0 / 6.0))  # (nodes downstream of k, weight)
_UPWIND = ((0, 1.0),)


def transport(mesh: Mesh, velocity: np.ndarray, *, crude: bool) -> sp.csr_array:
    """The rates of change of masses, (N, N), by a velocity at nodes (N, d) in the grid's coordinates.

    Args:
        mesh: The grid.
        velocity: The velocity.
        crude: Whether the scheme of first order is taken, which is positive.
    """
    total = sp.csr_array((mesh.size, mesh.size))
    for i in range(mesh.dim):
        if np.any(velocity[:, i]):
            total = total + _along(mesh, i, velocity[:, i], _UPWIND if crude else _BIASED)
    return total


def _along(mesh: Mesh, i: int, velocity: np.ndarray, scheme: tuple[tuple[int, float], ...]) -> sp.csr_array:
    """Fluxes through the faces between neighbours along axis i."""
    edges = mesh.edges(tuple(int(i == j) for j in range(mesh.dim)))
    forward = velocity[edges.start] + velocity[edges.end] > 0
    area = np.prod(mesh.steps) / mesh.steps[i] * edges.face
    rows, columns, values = [], [], []
    for shift, weight in scheme:
        ahead, there = _shifted(mesh, i, edges.start, shift)
        behind, here = _shifted(mesh, i, edges.end, -shift)
        node, exists = np.where(forward, ahead, behind), np.where(forward, there, here)
        upstream = np.where(forward, edges.start, edges.end)
        # Where a node of the stencil is missing, its share falls to the one upstream.
        node = np.where(exists, node, upstream)
        flux = weight * area * velocity[node] / mesh.volume[node]
        rows += [edges.start, edges.end]
        columns += [node, node]
        values += [-flux, flux]
    return sp.coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(mesh.size, mesh.size)
    ).tocsr()


def _shifted(mesh: Mesh, i: int, node: np.ndarray, by: int) -> tuple[np.ndarray, np.ndarray]:
    """The node `by` places further along axis i, and whether there is one."""
    index = list(np.unravel_index(node, mesh.shape))
    moved = index[i] + by
    if mesh.axes[i].periodic:
        moved, exists = moved % mesh.shape[i], np.ones(len(node), dtype=bool)
    else:
        exists = (moved >= 0) & (moved < mesh.shape[i])
    index[i] = np.clip(moved, 0, mesh.shape[i] - 1)
    return np.ravel_multi_index(index, mesh.shape), exists


__all__ = ["transport"]

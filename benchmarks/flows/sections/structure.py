"""Fields with structure: volumes and energies along the way."""

import torch

from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Divergence-free and Hamiltonian fields, float64"
VOLUME = 1e-6
ENERGY = 10.0  # tolerances: each is for one of some tens of steps


def run(context: Context) -> list[Row]:
    """Determinants of the flow's derivative, and H at the end against H at the start."""
    import pdekit as pk
    from pdekit.flows import DivergenceFreeField, HamiltonianField

    rows, count = [], 2 if context.quick else 20
    generator = torch.Generator().manual_seed(0)
    for dim in (2, 3, 6):
        field = DivergenceFreeField(dim, seed=0).double()
        x = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        jacobians = torch.stack([_derivative(field, row) for row in x])
        off = float((torch.linalg.det(jacobians) - 1).abs().max())
        grown = float(torch.linalg.matrix_norm(jacobians, 2).max())
        told = f"{count} states, t to 1; distances grow by up to {grown:.3g}"
        rows.append(at_most(f"{dim}-D divergence-free: volume less one", off, VOLUME, detail=told))
    for rtol in (1e-6, 1e-9):
        field = HamiltonianField(4, seed=0).double()
        x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        found = pk.odeint(field, x, [0.0, 10.0], rtol=rtol, atol=rtol)
        with torch.no_grad():
            drift = float((field.energy(0.0, found.y[-1]) - field.energy(0.0, x)).abs().max())
            scale = float(field(0.0, x).abs().max())
        told = f"t to 10, {found.counts.f.mean():.0f} evaluations; |v| up to {scale:.2g}"
        metric = f"4-D Hamiltonian: change of energy, rtol = atol = {rtol:g}"
        rows.append(at_most(metric, drift, ENERGY * rtol, detail=told))
    return rows


def _derivative(field: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of where the field carries x to, by x: (d, d), a row at a time."""
    import pdekit as pk

    start = x.clone().requires_grad_()
    end = pk.odeint(field, start[None], [0.0, 1.0], rtol=1e-9, atol=1e-11).y[-1, 0]
    return torch.stack([torch.autograd.grad(entry, start, retain_graph=True)[0] for entry in end])

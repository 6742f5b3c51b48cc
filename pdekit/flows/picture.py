"""What a trained flow looks like."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.flows.cnf import CNF
from pdekit.flows.normalizing import NormalizingFlow
from pdekit.report import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pdekit.flows.fitting import FlowFit

_REACH = 1.1  # of the drawn square, times the furthest sample
_DRAWN = 2000


def picture(fit: "FlowFit", points: int) -> "Figure":
    """The loss beside the density in the plane; in other dimensions beside the spread of -log p."""
    canvas, (left, right) = new_figure(ncols=2, wide=True, height=4.0)
    left.plot(fit.history.steps, fit.history.losses)
    left.axhline(fit.nll, linewidth=0.8, linestyle="--", label="held out")
    left.set_xlabel("step")
    left.set_ylabel("loss (nats)")
    left.legend()
    moved = fit.flow.field if isinstance(fit.flow, CNF) else fit.flow.bijection
    if fit.flow.event_shape[0] == 2 and not fit.flow.batch_shape and not getattr(moved, "context_dim", 0):
        extent, values = density_in_plane(fit.flow, points)
        right.imshow(values.T, origin="lower", extent=extent, cmap="viridis", aspect="equal")
        right.set_title("density")
    else:
        right.hist(fit.held_out.cpu().numpy(), bins=40)
        right.set_xlabel("-log p of held-out samples (nats)")
    return canvas


def density_in_plane(
    flow: "CNF | NormalizingFlow", points: int, reach: float | None = None
) -> tuple[tuple[float, float, float, float], np.ndarray]:
    """p at the centres of points x points cells of a square about 0 that holds the flow's samples, and its ends."""
    with torch.no_grad():
        moved = flow.field if isinstance(flow, CNF) else flow.bijection
        like: Any = next(iter(getattr(moved, "parameters", list)()), torch.zeros(()))
        if reach is None:
            reach = _REACH * float(flow.sample((_DRAWN,)).abs().max())
        width = 2 * reach / points
        node = torch.linspace(-reach + width / 2, reach - width / 2, points, dtype=like.dtype, device=like.device)
        grid: Tensor = torch.cartesian_prod(node, node)
        values = torch.cat([flow.log_prob(part) for part in grid.split(4096)]).exp()
    return (-reach, reach, -reach, reach), values.reshape(points, points).cpu().numpy()


__all__ = ["density_in_plane", "picture"]

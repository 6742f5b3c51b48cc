"""The Fokker-Planck residual of learned SDEs: hollow drift, diffusion and score in up to thousands of dimensions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Way, measure
from benchmarks.operators.rows import over
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit.operators import fokker_planck_residual
from pdekit.sde import SDE

TITLE = "Fokker-Planck residual with hollow drift, diffusion and score, batch 64, float32"
_BRUTE = 64  # up to this dimension the truth knows nothing of hollowness


def run(context: Context) -> list[Row]:
    """Time against one evaluation of all four nets; on the processor and on a GPU where there is one."""
    dims, batch = ((3, 5), 4) if context.quick else ((64, 1024, 4096), 64)
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])
    return [_row(dim, batch, device, context) for device in devices for dim in dims]


def _row(dim: int, batch: int, device: torch.device, context: Context) -> Row:
    problem, x, t = Problem(dim), nets.states(batch, dim), torch.tensor(0.3)
    few = x[:2]
    brute = dim <= _BRUTE
    right = truth.double(problem).residual(t.double(), few.double(), brute=brute)
    problem, x, t = problem.to(device), x.to(device), t.to(device)
    sde = SDE(problem.drift, problem.diffusion, dim=dim)
    operator = fokker_planck_residual(problem.log_density, sde, score=problem.score)
    with torch.no_grad(), _full_precision():
        ways = {"forward": Way(lambda: problem(t, x)), "residual": Way(lambda: operator(t, x), right, limit=1e-3)}
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        found = measure(f"Fokker-Planck d {dim}, {name}", ways, context, device=device)
    told = (
        f"forward {found['forward'].story()}",
        f"truth by {'the whole Jacobians' if brute else 'autograd through the transformers'}",
        f"{nets.DEFAULT}, drift: {nets.describe(problem.drift)}",
    )
    return over(f"d {dim}, {name}", found["residual"], found["forward"], "x all four nets", None, *told)


class Problem(nn.Module):
    """Hollow f(t, x), g(t, x) and s(t, x), and a perceptron log p(t, x), of which only the time derivative is used."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.drift = nets.hollow(nets.DEFAULT, dim, time=True, seed=0)
        self.diffusion = nets.hollow(nets.DEFAULT, dim, time=True, seed=1)
        self.score = nets.hollow(nets.DEFAULT, dim, time=True, seed=2)
        self.density = nets.mlp(dim + 1, 1, width=128, seed=3)

    def log_density(self, t: Tensor, x: Tensor) -> Tensor:
        """log p(t, x) up to a constant, (*batch,)."""
        return self.density(torch.cat([x, t + torch.zeros_like(x[..., :1])], -1)).squeeze(-1)

    def forward(self, t: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """All four nets once."""
        return self.drift(t, x), self.diffusion(t, x), self.score(t, x), self.log_density(t, x)

    def residual(self, t: Tensor, x: Tensor, *, brute: bool) -> Tensor:
        """The residual by autograd and its formula.

        d_t log p - sum_i [-d_i f_i - f_i s_i + (d_i g_i)^2 + g_i d_i^2 g_i + 2 g_i d_i g_i s_i
        + g_i^2 (d_i s_i + s_i^2) / 2]

        Args:
            t: Time.
            x: States.
            brute: Whether to differentiate the whole functions, one dimension after the other, instead of trusting
                that they are hollow.
        """
        take = _whole if brute else truth.through_transformer
        f, df = take(self.drift, 1, t, x)
        g, dg, ddg = take(self.diffusion, 2, t, x)
        s, ds = take(self.score, 1, t, x)
        terms = -df - f * s + dg**2 + g * ddg + 2 * g * dg * s + 0.5 * g**2 * (ds + s**2)
        rate = torch.func.jvp(lambda t: self.log_density(t, x), (t,), (torch.ones_like(t),))[1]
        return (rate - terms.sum(-1)).detach()


def _whole(net: nn.Module, order: int, t: Tensor, x: Tensor) -> Tensor:
    columns = [truth.along_dimension(lambda x: net(t, x), x, i, order) for i in range(x.shape[-1])]
    return torch.stack(columns, -1)


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TensorFloat-32 in products: its ten bits would hide what is compared with float64."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before

"""`fit_flow`: maximum likelihood of a flow, judged on samples that it has not seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pdekit.errors import InputError, NumericalError
from pdekit.flows.cnf import CNF
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.normalizing import NormalizingFlow
from pdekit.flows.samples import digest, read_samples
from pdekit.flows.storage import fill, kept
from pdekit.flows.transport import Passage
from pdekit.ode.storage import read, write
from pdekit.operators.methods import Exact, Hutchinson
from pdekit.training import History, Progress, Training, check_training, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sampler = Callable[[int, int], Any]  # (how many, seed) to samples (n, d)

_KIND = "flow-fit"
_TRAINING = Training(steps=2000, batch=512, rate=3e-3)
_AT_ONCE = 4096
_APART = 0.02  # nats: by more the likelihood in training was not what it seemed


@dataclass(frozen=True, eq=False, repr=False)
class FlowFit:
    """A trained flow.

    Attributes:
        flow: It, with the options that it was judged with.
        nll: The mean of -log p over held-out samples, in nats.
        stderr: Its standard error.
        nll_in_training: The same with the steps of the training: far below `nll`, the training has learnt to profit
            from their error; give more of them, or a small `kinetic=`. NaN where nothing is solved, or where these
            steps fail.
        held_out: -log p of each of them, (n,).
        evaluations: Evaluations of fields that one of them took, on average; NaN where there is no field.
        reconstruction_error: How far off the way back and forth was, at most, through any flow of a chain.
        history: Of the training.
        seed: Of batches, and of what was held out.
    """

    flow: "CNF | NormalizingFlow"
    nll: float
    stderr: float
    nll_in_training: float
    held_out: Tensor
    evaluations: float
    reconstruction_error: float
    history: History
    seed: int

    def save(self, path: Any) -> None:
        """Write parameters and figures to one safetensors file."""
        figures: dict[str, Any] = {"nll": self.nll, "stderr": self.stderr, "seed": self.seed}
        costs = {name: getattr(self, name) for name in ("nll_in_training", "evaluations", "reconstruction_error")}
        tensors = kept(nn.ModuleList(_modules(self.flow))) | {"held_out": self.held_out}
        about = {"figures": figures, "costs": {k: v if np.isfinite(v) else None for k, v in costs.items()}}
        write(path, _KIND, about | {"history": self.history.plain(), "made": _described(self.flow)}, tensors)

    @classmethod
    def load(cls, path: Any, flow: "CNF | NormalizingFlow", judge: dict[str, Any] | None = None) -> "FlowFit":
        """The fit of a file; its parameters are put into `flow`, built as it was for the training.

        Args:
            path: The file.
            flow: The flow, with the same networks, options and base.
            judge: The options that it was judged with, if they were given.

        Raises:
            InputError: If something differs; then the flow stays as it is.
            DataError: If the file holds something else.
        """
        _check_flow(flow)
        about, tensors = read(path, _KIND)
        modules = nn.ModuleList(_modules(flow))
        judged = _for_judging(flow, judge, next(modules.parameters()).dtype)
        fill(modules, tensors, path, about["made"], _described(judged))
        costs: dict[str, Any] = {k: float("nan") if v is None else v for k, v in about["costs"].items()}
        return cls(
            flow=judged,
            held_out=tensors["held_out"],
            history=History.of(about["history"]),
            **about["figures"],
            **costs,
        )

    def plot(self, *, points: int = 120) -> "Figure":
        """The loss; in the plane the density too, else the spread of -log p over held-out samples."""
        from pdekit.flows.picture import picture

        return picture(self, points)

    def __repr__(self) -> str:
        cost = "" if np.isnan(self.evaluations) else f"{self.evaluations:.0f} evaluations each, "
        told = ""
        if self.nll - self.nll_in_training > _APART:
            told = f", but {self.nll_in_training:.4f} by the steps of the training"
        elif cost and np.isnan(self.nll_in_training):
            told = ", where the steps of the training fail"
        return (
            f"FlowFit(nll={self.nll:.4f} ± {self.stderr:.4f} nats on {len(self.held_out)} held-out samples{told}, "
            f"{cost}back and forth off by {self.reconstruction_error:.1g}; trained {self.history.seconds:.0f} s)"
        )


def fit_flow(
    flow: CNF | NormalizingFlow,
    data: "np.ndarray | Tensor | Sampler",
    training: Training = _TRAINING,
    *,
    context: Tensor | None = None,
    held_out: "float | np.ndarray | Tensor | tuple[Any, Any]" = 0.1,
    kinetic: float = 0.0,
    jacobian: float = 0.0,
    judge: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FlowFit:
    """Makes samples likely under a flow; its field is changed in place.

    Args:
        flow: The flow with the options to train with: for speed a loose tolerance, `Fixed(step)`, or `Hutchinson()`.
            Everything in it that is a module is trained: the field, those of flows in its base, and end times. Or a
            `NormalizingFlow`, whose layers are trained.
        data: Samples (n, d); or a function of (how many, seed) that makes fresh ones for every step.
        training: Steps, batch, rate, checkpoint, a limit of seconds. A checkpoint of other samples is refused; whether
            a sampler is the same can't be told.
        context: What the field is told of each sample, (n, c).
        held_out: The share of the samples by which the flow is judged, or samples (m, d) to judge it by: along with a
            context (samples, contexts). A sampler makes 10,000 fresh ones instead.
        kinetic: Weight of the mean kinetic energy, see `CNF.passage`.
        jacobian: Weight of the mean |dv/dx|_F^2.
        judge: Options to judge with, as for `CNF.changed`; by default the exact trace where the training's is an
            estimate, a tolerance of 1e-6 (float32: 1e-5), and steps by it.
        seed: Of batches, and of what is held out.
        progress: Called with what is done and the share of it.

    Returns:
        The flow with its figures.

    Raises:
        InputError: If something does not fit together.
        DataError: If there are too few samples, or some are not finite.
        NumericalError: If the training diverges.

    Example:
        >>> from pdekit.flows import CNF, toy
        >>> from pdekit.nets import HollowNet
        >>> base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
        >>> flow = CNF(HollowNet(2, time=True, seed=0), base)
        >>> fit_flow(flow, toy("moons", 500), Training(steps=2, batch=50)).held_out.shape
        torch.Size([50])
    """
    check_training(training, seed)
    _check_flow(flow)
    for name, weight in (("kinetic", kinetic), ("jacobian", jacobian)):
        if not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
            raise InputError(f"{name} must be a weight of at least 0, got {weight!r}.")
    modules = nn.ModuleList(_modules(flow))
    parameters = [p for p in modules.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("Nothing in this flow can be trained: give it a field that is a module with parameters.")
    if isinstance(flow, NormalizingFlow) and (kinetic or jacobian or judge):
        raise InputError("Discrete layers have no way whose cost could be penalised, and no options to judge with.")
    dtype, device = parameters[0].dtype, parameters[0].device
    batches, judged = read_samples(data, context, training.batch, held_out, flow.event_shape[0], seed, dtype, device)

    def loss(generator: torch.Generator, share: float) -> Tensor:
        x, given = batches(generator)
        # Directions come from the step's generator too: a training can be repeated, and taken up again.
        now = flow if given is None else flow.given(given)
        number = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        now = _with_directions(now, number)
        if isinstance(now, NormalizingFlow):
            return -now.log_prob(x).mean()
        probes = Hutchinson(seed=number + 1) if jacobian > 0 else None
        found = now.passage(x, kinetic=kinetic > 0, jacobian=probes)
        value = -(now.base.log_prob(found.start) + found.log_volume).mean()
        if found.kinetic is not None:
            value = value + kinetic * found.kinetic.mean()
        if found.jacobian is not None:
            value = value + jacobian * found.jacobian.mean()
        return value

    share = held_out if isinstance(held_out, int | float) else "others"
    key = f"{_described(flow)}; {digest(data, context)}; {kinetic}, {jacobian}, {share}, {seed}"
    history = train(modules, loss, training, seed=seed, what="the flow", progress=progress, key=key)
    return _judged(flow, _for_judging(flow, judge, dtype), *judged, history, seed)


def _described(flow: Any) -> str:
    """All that decides a training, as text."""
    base = _described(flow.base) if isinstance(flow.base, CNF | NormalizingFlow) else repr(flow.base)
    if not isinstance(flow, CNF):
        return f"{flow.bijection!r}, {base}"
    trace = flow.trace.__name__ if hasattr(flow.trace, "__name__") else repr(flow.trace)
    return f"{flow.options() | {'trace': trace}}, {flow.field!r}, {base}"


def _with_directions(flow: Any, number: int) -> Any:
    """The flow, and those in its base, with random directions of their own that this number fixes."""
    changes: dict[str, Any] = {}
    if isinstance(flow.base, CNF | NormalizingFlow):
        changes["base"] = _with_directions(flow.base, (number + 7919) % 2**62)
    if isinstance(flow, NormalizingFlow):
        return NormalizingFlow(flow.bijection, changes["base"], context=flow.context) if changes else flow
    if isinstance(flow.trace, Hutchinson) and flow.trace.seed is None and flow.trace.noise is None:
        changes["trace"] = replace(flow.trace, seed=number)
    return flow.changed(**changes) if changes else flow


def _check_flow(flow: Any) -> None:
    """A flow all of whose parameters are found by `_modules`."""
    if not isinstance(flow, CNF | NormalizingFlow):
        raise InputError(f"flow must be a CNF(...) or a NormalizingFlow(...), got {type(flow).__name__} {flow!r:.80}.")
    if isinstance(flow, NormalizingFlow) and isinstance(flow.bijection, ContinuousFlow):
        raise InputError("A continuous flow is fitted as CNF(field, base, ...), which is judged by tolerance.")
    if isinstance(flow.base, CNF | NormalizingFlow):
        _check_flow(flow.base)
        return
    with torch.enable_grad():
        trained = flow.base.log_prob(flow.base.sample()).requires_grad
    if trained:
        raise InputError(
            f"The base {type(flow.base).__name__} has parameters that would neither be trained nor saved: give a "
            "CNF or a NormalizingFlow as base, or a law without gradients."
        )


def _modules(flow: CNF | NormalizingFlow) -> Iterator[nn.Module]:
    """Everything that is trained: of flows in the base as well."""
    if isinstance(flow, NormalizingFlow):
        yield flow.bijection
        if isinstance(flow.base, CNF | NormalizingFlow):
            yield from _modules(flow.base)
        return
    if isinstance(flow.field, nn.Module):
        yield flow.field
    ends = [t for t in flow.times if isinstance(t, Tensor) and t.requires_grad]
    if ends:
        yield nn.ParameterList(t if isinstance(t, nn.Parameter) else _refused(t) for t in ends)
    if isinstance(flow.base, CNF | NormalizingFlow):
        yield from _modules(flow.base)


def _refused(t: Tensor) -> nn.Parameter:
    raise InputError("A time that is to be trained must be a torch.nn.Parameter, as it is changed in place.")


def _for_judging(flow: Any, judge: dict[str, Any] | None, dtype: torch.dtype) -> Any:
    from pdekit.ode.control import StepControl

    if isinstance(flow, NormalizingFlow):
        nested = isinstance(flow.base, CNF | NormalizingFlow)
        return NormalizingFlow(flow.bijection, _for_judging(flow.base, judge, dtype)) if nested else flow
    rtol = 1e-6 if dtype == torch.float64 else 1e-5
    own = {"rtol": rtol, "atol": rtol, "control": StepControl()}
    exact = {"trace": Exact()} if isinstance(flow.trace, Hutchinson) else {}
    nested = isinstance(flow.base, CNF | NormalizingFlow)
    base = {"base": _for_judging(flow.base, judge, dtype)} if nested else {}
    return flow.changed(**{**own, **exact, **base, **(judge or {})})


def _judged(trained: Any, flow: Any, x: Tensor, context: Tensor | None, history: History, seed: int) -> FlowFit:
    rough = _with_steps_of(trained, flow)
    values, evaluations, off, seeming = [], 0.0, 0.0, 0.0 if rough is not None else float("nan")
    with torch.no_grad():
        for part, given in zip(x.split(_AT_ONCE), (x if context is None else context).split(_AT_ONCE), strict=True):
            log_p, count, error = _passed(flow if context is None else flow.given(given), part)
            values.append(-log_p)
            evaluations += count * len(part) / len(x)
            off = max(off, error)
            if rough is not None:
                seeming += _seeming(rough if context is None else rough.given(given), part) / len(x)
    held = torch.cat(values)
    return FlowFit(
        flow=flow,
        nll=float(held.mean()),
        stderr=float(held.std() / len(held) ** 0.5),
        nll_in_training=seeming,
        held_out=held,
        evaluations=evaluations if rough is not None else float("nan"),
        reconstruction_error=off,
        history=history,
        seed=seed,
    )


def _seeming(rough: Any, x: Tensor) -> float:
    """The sum of -log p by the steps of the training; a solve that fails must not cost the training itself."""
    try:
        return -float(rough.log_prob(x).sum())
    except NumericalError:
        return float("nan")


def _with_steps_of(trained: Any, judged: Any) -> Any:
    """The flow as it is judged, but solved with the steps of the training; None where nothing is solved."""
    nested = isinstance(judged.base, CNF | NormalizingFlow)
    base = _with_steps_of(trained.base, judged.base) if nested else None
    if isinstance(judged, NormalizingFlow):
        return None if base is None else NormalizingFlow(judged.bijection, base)
    return trained.changed(trace=judged.trace, base=judged.base if base is None else base)


def _passed(flow: Any, x: Tensor) -> tuple[Tensor, float, float]:
    """log p, evaluations of fields for a sample, and how far off the way back and forth is, through all of a chain."""
    if isinstance(flow, NormalizingFlow):
        start, change = flow.bijection(x, flow.context)
        off, count = float((flow.bijection.inverse(start, flow.context) - x).abs().max()), 0.0
    else:
        found: Passage = flow.passage(x)
        start, change, off, count = found.start, found.log_volume, found.reconstruction_error, found.evaluations
    if not isinstance(flow.base, CNF | NormalizingFlow):
        return flow.base.log_prob(start) + change, count, off
    log_p, more, error = _passed(flow.base, start)
    return log_p + change, count + more, max(off, error)


__all__ = ["FlowFit", "fit_flow"]

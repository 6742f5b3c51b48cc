"""`fit_classifier`: a network trained to tell images apart, and judged on images that it has not seen."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pdekit.errors import DataError, InputError
from pdekit.flows.block import ODEBlock
from pdekit.flows.storage import fill, kept
from pdekit.ode.storage import read, write
from pdekit.training import History, Progress, Training, check_training, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KIND = "classifier-fit"
_TRAINING = Training(steps=600, batch=128, rate=2e-3)
_AT_ONCE = 256


@dataclass(frozen=True, eq=False, repr=False)
class ClassifierFit:
    """A trained classifier.

    Attributes:
        net: It.
        error: The share of held-out images that it gets wrong.
        stderr: Its standard error, of one more image of either kind, so that it is never zero.
        entropy: The mean of -log p of their labels, in nats.
        wrong: Which are wrong, (n,).
        parameters: How many numbers were trained.
        evaluations: Evaluations of the field of its `ODEBlock`s for an image, on average; NaN without one.
        history: Of the training.
        seed: Of the batches.
    """

    net: nn.Module
    error: float
    stderr: float
    entropy: float
    wrong: Tensor
    parameters: int
    evaluations: float
    history: History
    seed: int

    def plot(self) -> "Figure":
        """The loss, and that of the held-out images."""
        from pdekit.report import new_figure

        canvas, axes = new_figure()
        axes.semilogy(self.history.steps, self.history.losses)
        axes.axhline(self.entropy, linewidth=0.8, linestyle="--", label=f"held out, {100 * self.error:.2g} % wrong")
        axes.set_xlabel("step")
        axes.set_ylabel("cross-entropy (nats)")
        axes.legend()
        return canvas

    def save(self, path: Any) -> None:
        """Write parameters and figures to one safetensors file."""
        figures: dict[str, Any] = {n: getattr(self, n) for n in ("error", "stderr", "entropy", "parameters", "seed")}
        figures["evaluations"] = None if np.isnan(self.evaluations) else self.evaluations
        about = {"figures": figures, "history": self.history.plain(), "made": repr(self.net)}
        write(path, _KIND, about, kept(self.net) | {"wrong": self.wrong})

    @classmethod
    def load(cls, path: Any, net: nn.Module) -> "ClassifierFit":
        """The fit of a file; its parameters are put into `net`, built as it was for the training.

        Args:
            path: The file.
            net: The network.

        Raises:
            InputError: If something differs; then the network stays as it is.
            DataError: If the file holds something else.
        """
        if not isinstance(net, nn.Module):
            raise InputError(f"net must be a network with parameters, got {type(net).__name__}.")
        about, tensors = read(path, _KIND)
        fill(net, tensors, path, about["made"], repr(net))
        net.eval()
        figures: dict[str, Any] = {k: float("nan") if v is None else v for k, v in about["figures"].items()}
        return cls(net=net, wrong=tensors["wrong"], history=History.of(about["history"]), **figures)

    def __repr__(self) -> str:
        cost = "" if np.isnan(self.evaluations) else f", {self.evaluations:.0f} evaluations an image"
        return (
            f"ClassifierFit({100 * self.error:.2f} ± {100 * self.stderr:.2f} % of {len(self.wrong)} images wrong, "
            f"{self.parameters:,} parameters{cost}; trained {self.history.seconds:.0f} s)"
        )


def fit_classifier(
    net: nn.Module,
    images: "np.ndarray | Tensor",
    labels: "np.ndarray | Tensor",
    training: Training = _TRAINING,
    *,
    held_out: tuple[Any, Any],
    seed: int = 0,
    progress: Progress | None = None,
) -> ClassifierFit:
    """Lowers the cross-entropy of labels; the network is changed in place.

    Args:
        net: (n, pixels) -> logits (n, classes), such as those of `image_classifier`.
        images: (n, pixels).
        labels: Whole numbers from 0, (n,).
        training: Steps, batch, rate, checkpoint, a limit of seconds.
        held_out: Images and labels that the network is judged by.
        seed: Of the batches.
        progress: Called with what is done and the share of it.

    Raises:
        InputError: If shapes or types do not fit.
        DataError: If images are not finite, or there are none.
        NumericalError: If the training diverges.

    Example:
        >>> from pdekit.flows import digits, image_classifier
        >>> d = digits()
        >>> net = image_classifier("mlp", d.shape)
        >>> fit = fit_classifier(net, d.images, d.labels, Training(steps=5), held_out=(d.images[:9], d.labels[:9]))
        >>> fit.wrong.shape
        torch.Size([9])
    """
    check_training(training, seed)
    like = next((p for p in net.parameters() if p.requires_grad), None) if isinstance(net, nn.Module) else None
    if like is None:
        raise InputError(f"net must be a network with parameters, got {type(net).__name__}.")
    if not isinstance(held_out, tuple | list) or len(held_out) != 2:
        raise InputError("held_out must be (images, labels) to judge by.")
    x, y = _checked(images, labels, like)
    x_out, y_out = _checked(*held_out, like)
    _check_classes(net, x, y, x_out, y_out)

    def loss(generator: torch.Generator, share: float) -> Tensor:
        some = torch.randint(len(x), (training.batch,), generator=generator, device=x.device)
        return cross_entropy(net(x[some]), y[some])

    digest = hashlib.blake2b(x.cpu().numpy().tobytes() + y.cpu().numpy().tobytes(), digest_size=16).hexdigest()
    net.train()
    history = train(
        net, loss, training, seed=seed, what="the classifier", progress=progress, key=f"{net!r}; {digest}; {seed}"
    )
    net.eval()
    blocks = [m for m in net.modules() if isinstance(m, ODEBlock)]
    logits, evaluations = [], 0.0
    with torch.no_grad():
        for part in x_out.split(_AT_ONCE):
            logits.append(net(part))
            evaluations += sum(b.evaluations for b in blocks) * len(part) / len(x_out)
    found = torch.cat(logits)
    wrong = found.argmax(-1) != y_out
    error = float(wrong.float().mean())
    return ClassifierFit(
        net=net,
        error=error,
        stderr=_uncertainty(int(wrong.sum()), len(wrong)),
        entropy=float(cross_entropy(found, y_out)),
        wrong=wrong,
        parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        evaluations=evaluations if blocks else float("nan"),
        history=history,
        seed=seed,
    )


def _check_classes(net: nn.Module, x: Tensor, y: Tensor, x_out: Tensor, y_out: Tensor) -> None:
    """Before a long training: the network takes the images, and has a class for each label."""
    if x_out.shape[1] != x.shape[1]:
        raise InputError(f"Images have {x.shape[1]} pixels, those that are held out {x_out.shape[1]}.")
    net.eval()
    try:
        with torch.no_grad():
            logits = net(x[:2])
    except RuntimeError as cause:
        raise InputError(f"The network does not take images of {x.shape[1]} pixels: {cause}") from cause
    for labels in (y, y_out):
        if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[-1]:
            raise InputError(
                f"Labels must be 0 to {logits.shape[-1] - 1}, the classes of the network, got {int(labels.min())} to "
                f"{int(labels.max())}."
            )


def _uncertainty(wrong: int, n: int) -> float:
    """Of a share, with one more of either kind: not zero where nothing, or everything, is wrong."""
    share = (wrong + 1) / (n + 2)
    return (share * (1 - share) / (n + 2)) ** 0.5


def _checked(images: Any, labels: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    x, y = torch.as_tensor(images), torch.as_tensor(labels)
    if x.ndim != 2 or not x.is_floating_point() or y.shape != x.shape[:1] or y.is_floating_point():
        raise InputError(
            f"Expected images (n, pixels) and whole labels (n,), got {x.dtype} {tuple(x.shape)} and {y.dtype} "
            f"{tuple(y.shape)}."
        )
    if not len(x) or not bool(torch.isfinite(x).all()):
        raise DataError("There are no images, or some are not finite.")
    return x.to(like), y.to(like.device).long()


__all__ = ["ClassifierFit", "fit_classifier"]

"""`fit_vae`: a variational autoencoder trained on images, and judged on images that it has not seen."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import DataError, InputError
from pdekit.flows.continuous_layer import ContinuousFlow
from pdekit.flows.storage import fill, kept
from pdekit.flows.vae import VAE
from pdekit.nets.conditioners.checks import check_count
from pdekit.ode.control import StepControl
from pdekit.ode.storage import read, write
from pdekit.operators.methods import Exact
from pdekit.training import History, Progress, Training, check_training, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KIND = "vae-fit"
_TRAINING = Training(steps=2000, batch=128, rate=2e-3)
_DRAWS = 10  # of the evidence bound, for each held-out image
_JUDGE = {"trace": Exact(), "rtol": 1e-5, "atol": 1e-5, "control": StepControl()}


@dataclass(frozen=True, eq=False, repr=False)
class VAEFit:
    """A trained autoencoder.

    Attributes:
        vae: It, with the options that it was judged with.
        elbo: The mean of the evidence lower bound over held-out images, in nats.
        nll: The mean of -log p(x) over them, by importance sampling; an upper bound on average.
        stderr: The standard errors of both, over images.
        bounds: The bound of each held-out image, (n,).
        surprises: -log p of each, (n,).
        samples: Of importance sampling, for each image.
        evaluations: Evaluations of the field for a latent state at the judge's tolerance, NaN without one.
        reconstruction_error: How far off the way there and back was for them, NaN without a field.
        history: Of the training.
        seed: Of batches, binary images and samples.
    """

    vae: VAE
    elbo: float
    nll: float
    stderr: tuple[float, float]
    bounds: Tensor
    surprises: Tensor
    samples: int
    evaluations: float
    reconstruction_error: float
    history: History
    seed: int

    def plot(self, *, rows: int = 6) -> "Figure":
        """The loss beside new images from the prior."""
        from pdekit.report import new_figure

        canvas, (left, right) = new_figure(ncols=2, wide=True, height=4.0)
        left.plot(self.history.steps, self.history.losses)
        left.axhline(-self.elbo, linewidth=0.8, linestyle="--", label="held out")
        left.set_xlabel("step")
        left.set_ylabel("-ELBO (nats)")
        left.legend()
        with torch.no_grad():
            like = next(self.vae.parameters())
            new = self.vae.sample(rows * rows, torch.Generator(like.device).manual_seed(self.seed)).cpu()
        shape = self.vae.shape
        if shape is not None:
            mosaic = new.reshape(rows, rows, *shape).permute(0, 2, 1, 3).reshape(rows * shape[0], rows * shape[1])
            right.imshow(mosaic.numpy(), cmap="gray", vmin=0, vmax=1)
            right.set_axis_off()
            right.set_title("new images: probabilities of pixels")
        else:
            right.hist(self.surprises.cpu().numpy(), bins=40)
            right.set_xlabel("-log p of held-out images (nats)")
        return canvas

    def save(self, path: Any) -> None:
        """Write parameters and figures to one safetensors file."""
        figures = {name: getattr(self, name) for name in ("elbo", "nll", "stderr", "samples", "seed")}
        costs = {name: _or_none(getattr(self, name)) for name in ("evaluations", "reconstruction_error")}
        tensors = kept(self.vae) | {"bounds": self.bounds, "surprises": self.surprises}
        about = {"figures": figures | costs, "history": self.history.plain(), "made": repr(self.vae)}
        write(path, _KIND, about, tensors)

    @classmethod
    def load(cls, path: Any, vae: VAE, judge: dict[str, Any] | None = None) -> "VAEFit":
        """The fit of a file; its parameters are put into `vae`, built as it was for the training.

        Args:
            path: The file.
            vae: The autoencoder, with the same networks and options.
            judge: The options that it was judged with, if they were given.

        Raises:
            InputError: If something differs; then the autoencoder stays as it is.
            DataError: If the file holds something else.
        """
        if not isinstance(vae, VAE):
            raise InputError(f"vae must be a VAE(...), got {vae!r:.80}.")
        about, tensors = read(path, _KIND)
        judged = vae.changed(**{**_JUDGE, **(judge or {})})
        fill(vae, tensors, path, about["made"], repr(judged))
        judged.eval()
        figures: dict[str, Any] = {k: float("nan") if v is None else v for k, v in about["figures"].items()}
        return cls(
            vae=judged,
            history=History.of(about["history"]),
            bounds=tensors["bounds"],
            surprises=tensors["surprises"],
            **{**figures, "stderr": tuple(figures["stderr"])},
        )

    def __repr__(self) -> str:
        cost = "" if np.isnan(self.evaluations) else f", {self.evaluations:.0f} evaluations a state"
        return (
            f"VAEFit(ELBO {self.elbo:.2f} ± {self.stderr[0]:.2f}, NLL {self.nll:.2f} ± {self.stderr[1]:.2f} nats by "
            f"{self.samples} samples on {len(self.bounds)} held-out images{cost}; trained {self.history.seconds:.0f} s)"
        )


def fit_vae(
    vae: VAE,
    images: "np.ndarray | Tensor",
    training: Training = _TRAINING,
    *,
    held_out: "float | np.ndarray | Tensor" = 0.1,
    warm_up: float = 0.1,
    samples: int = 500,
    judge: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> VAEFit:
    """Raises the evidence bound of images; the networks are changed in place.

    Pixels are probabilities: every batch is drawn anew as ones and zeros, held-out images once, by the seed.

    Args:
        vae: What is trained.
        images: (n, pixels) in [0, 1].
        training: Steps, batch, rate, checkpoint, a limit of seconds.
        held_out: The share of the images by which the autoencoder is judged, or such images.
        warm_up: During this share of the training the weight of the prior's part grows from 0 to 1.
        samples: Of importance sampling, for each held-out image; the papers take 5,000.
        judge: Options of a continuous flow to judge with; by default the exact trace and a tolerance of 1e-5.
        seed: Of batches, binary images, what is held out, and samples.
        progress: Called with what is done and the share of it.

    Returns:
        The autoencoder with its figures.

    Raises:
        InputError: If something does not fit together.
        DataError: If pixels are not in [0, 1], or there are too few images.
        NumericalError: If the training diverges.

    Example:
        >>> from pdekit.flows import digits, vae_networks
        >>> vae = VAE(*vae_networks((8, 8), 4, 0, (32,)), 4)
        >>> fit = fit_vae(vae, digits().images, Training(steps=2, batch=32), samples=5)
        >>> fit.bounds.shape
        torch.Size([180])
    """
    if not 0.0 <= warm_up < 1.0:
        raise InputError(f"warm_up must be a share below 1, got {warm_up!r}.")
    check_count("samples", samples)
    check_training(training, seed)
    options = {**_JUDGE, **(judge or {})}
    vae.changed(**options)  # refuses them now, not after the training
    like = next(vae.parameters())
    x = _checked(images).to(like)
    if isinstance(held_out, float | int | np.floating):
        x, judged = _parted(x, float(held_out), seed)
    else:
        judged = _checked(held_out).to(like)
    if judged.shape[1] != x.shape[1]:
        raise InputError(f"Images have {x.shape[1]} pixels, those that are held out {judged.shape[1]}.")

    def loss(generator: torch.Generator, share: float) -> Tensor:
        some = x[torch.randint(len(x), (training.batch,), generator=generator, device=x.device)]
        weight = min(1.0, share / warm_up) if warm_up else 1.0
        return -vae.elbo(torch.bernoulli(some, generator=generator), generator, weight=weight).mean()

    digest = hashlib.blake2b(x.cpu().numpy().tobytes(), digest_size=16).hexdigest()
    key = f"{vae!r}; {digest}; {warm_up}, {seed}"
    vae.train()
    history = train(vae, loss, training, seed=seed, what="the autoencoder", progress=progress, key=key)
    vae.eval()
    return _judged(vae.changed(**options).eval(), judged, samples, history, seed)


def _judged(vae: VAE, x: Tensor, samples: int, history: History, seed: int) -> VAEFit:
    generator = torch.Generator(x.device).manual_seed(seed)
    with torch.no_grad():
        seen = torch.bernoulli(x, generator=generator)
        bounds = torch.stack([vae.elbo(seen, generator) for _ in range(_DRAWS)]).mean(0)
        surprises = -vae.log_likelihood(seen, samples, generator)
        evaluations, off = _cost(vae, seen)
    root = len(x) ** 0.5
    return VAEFit(
        vae=vae,
        elbo=float(bounds.mean()),
        nll=float(surprises.mean()),
        stderr=(float(bounds.std()) / root, float(surprises.std()) / root),
        bounds=bounds,
        surprises=surprises,
        samples=samples,
        evaluations=evaluations,
        reconstruction_error=off,
        history=history,
        seed=seed,
    )


def _cost(vae: VAE, x: Tensor) -> tuple[float, float]:
    """Evaluations of the field from the means of the posteriors, and how far off the way there and back was."""
    if not isinstance(vae.flow, ContinuousFlow):
        return float("nan"), float("nan")
    told = vae.encoder(x)
    context = told[:, 2 * vae.latent :] if vae.context_dim else None
    found = vae.flow.transport.passage(told[:, : vae.latent], context, back=False)
    return found.evaluations, found.reconstruction_error


def _parted(x: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    if not 0.0 < share < 1.0:
        raise InputError(f"held_out must be a share between 0 and 1, or images, got {share!r}.")
    count = round(share * len(x))
    if not 0 < count < len(x):
        raise DataError(f"Of {len(x)} images {count} would be held out; give more images.")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    return x[order[count:]], x[order[:count]]


def _checked(images: Any) -> Tensor:
    x = torch.as_tensor(images if isinstance(images, Tensor) else np.asarray(images))
    if x.ndim == 2 and x.dtype == torch.uint8:
        raise InputError("images are bytes: divide them by 255, as floating-point numbers.")
    if x.ndim != 2 or not x.is_floating_point():
        raise InputError(f"images must be floating-point numbers (n, pixels), got {x.dtype} {tuple(x.shape)}.")
    if not len(x) or not bool(torch.isfinite(x).all()):
        raise DataError("There are no images, or some are not finite.")
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise DataError(
            f"Pixels must be probabilities in [0, 1], got {float(x.min()):.3g} to {float(x.max()):.3g}: divide by "
            "their greatest value."
        )
    return x


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


__all__ = ["VAEFit", "fit_vae"]

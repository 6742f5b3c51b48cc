"""Which way of fitting `--method` names: a likelihood, a search for terms, or learned functions."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from pdekit.errors import InputError

if TYPE_CHECKING:
    from pdekit.fitting import Observation

LEARNERS = ("km", "sparse", "neural")
ESTIMATE = "estimate"


def check_method(method: str, *, stated: bool) -> None:
    """Refuses a method that does not exist, or that does not go with a stated model or the lack of one.

    Raises:
        InputError: See above.
    """
    from pdekit.fitting.densities.choose import Method

    likelihoods = ("mle", "snapshots", "kalman", "grid", "weak", *(m for m in get_args(Method) if m != "auto"))
    if method not in ("auto", *LEARNERS, *likelihoods):
        known = ", ".join(("auto", "mle", *LEARNERS, "snapshots", *(m for m in get_args(Method) if m != "auto")))
        raise InputError(f"--method must be one of {known}; got {method!r}.")
    if method in LEARNERS and stated:
        raise InputError(
            f"--method {method} finds drift and diffusion itself; leave --model, --drift and --diffusion out, or take "
            "--method mle."
        )
    if method in likelihoods and method != "snapshots" and not stated:
        raise InputError(
            f"--method {method} needs a model: --model NAME (see pdekit models), or your own with --drift and "
            "--diffusion. Without one take --method sparse, km or neural."
        )


def check_training(method: str, training: dict[str, Any]) -> None:
    """Refuses flags of a training where nothing is trained.

    Raises:
        InputError: See above.
    """
    for name, value in training.items():
        if value is not None and method != "neural":
            raise InputError(f"--{name} belongs to --method neural, not to {method}.")


def learner(
    method: str, terms: tuple[str, ...], noise_terms: tuple[str, ...], training: dict[str, Any] | None = None
) -> Any:
    """The options object of a way that needs no model; "auto" looks for a formula, "snapshots" matches functions.

    Raises:
        InputError: If candidate terms are given to another way.
    """
    from pdekit.fitting import KramersMoyal, Library, NeuralSDE, SnapshotMatching, SparseSDE

    if method in ("auto", "sparse"):
        drift, noise = (Library.of(*given) if given else None for given in (terms, noise_terms))
        return SparseSDE(drift=drift, diffusion=noise)
    if terms or noise_terms:
        raise InputError(f"--term and --noise-term belong to --method sparse, not to {method}.")
    if method == "neural":
        given = {name: value for name, value in (training or {}).items() if value is not None}
        return NeuralSDE(training=replace(NeuralSDE().training, **given)) if given else NeuralSDE()
    return {"km": KramersMoyal, "snapshots": SnapshotMatching}[method]()


def observation(observed: tuple[str, ...], noise: list[str]) -> "Observation | None":
    """How readings see the state; None if no flag says anything.

    Args:
        observed: The states that the columns are; empty for all.
        noise: "estimate", a number, or NAME=estimate and NAME=NUMBER.

    Raises:
        InputError: If a level does not read.
    """
    from pdekit.fitting import Observation

    if not (observed or noise):
        return None
    named = [entry.partition("=") for entry in noise if "=" in entry]
    plain = [entry for entry in noise if "=" not in entry]
    if len(plain) + bool(named) > 1:
        raise InputError("--measurement-noise takes one level for all columns, or NAME=LEVEL for each; not both.")
    level: Any = _level(plain[0]) if plain else {name.strip(): _level(value) for name, _, value in named} or None
    return Observation(of=observed or None, noise=level)


def _level(text: str) -> float | str:
    if text.strip() == ESTIMATE:
        return ESTIMATE
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--measurement-noise must be 'estimate' or a number, got {text!r}.") from None

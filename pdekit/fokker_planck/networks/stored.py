"""Learned densities as tensors and JSON: the model once, and what each time adds to it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.fokker_planck.networks.backward import Deviation
from pdekit.fokker_planck.networks.between import Times
from pdekit.fokker_planck.networks.learned import Coordinates, LearnedScore
from pdekit.fokker_planck.networks.mixture import Mixture, MovingMixture
from pdekit.fokker_planck.networks.normaliser import Mass
from pdekit.fokker_planck.networks.potential_density import PotentialDensity
from pdekit.nets import MLP

_PATHS = 50_000  # states that are kept of each time

Part = tuple[dict[str, Any], dict[str, Tensor]]


def packed_model(model: LearnedScore) -> Part:
    """A learned score whose network is scalar."""
    parts = [torch.stack(list(part)) for part in zip(*(vars(m).values() for m in model.mixture.mixtures), strict=True)]
    tensors = dict(zip(("weights", "means", "factors"), parts, strict=True))
    tensors |= {"centers": model.coordinates.centers, "scales": model.coordinates.factors}
    tensors |= {f"net.{name}": value for name, value in model.net.state_dict().items()}
    about = {"times": model.times.known.tolist(), "share": model.share, "net": model.net.architecture()}
    return about, tensors


def unpacked_model(about: dict[str, Any], tensors: dict[str, Tensor]) -> LearnedScore:
    """What `packed_model` was given."""
    net = MLP.from_architecture(about["net"])
    net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
    parts = zip(*(tensors[name] for name in ("weights", "means", "factors")), strict=True)
    mixture = MovingMixture(tuple(Mixture(*part) for part in parts))
    coordinates = Coordinates(tensors["centers"], tensors["scales"])
    model = LearnedScore(net, Times(np.array(about["times"])), mixture, coordinates)
    model.share = about["share"]
    return model


def packed_density(density: PotentialDensity) -> Part:
    """What a density adds to its model."""
    about = {
        "time": density.time,
        "unit": vars(density.unit),
        "deviation": None if density.deviation is None else vars(density.deviation),
    }
    rows = np.linspace(0, len(density.paths) - 1, min(_PATHS, len(density.paths))).astype(int)
    return about, {"weights": density.weights, "paths": torch.as_tensor(density.paths[rows])}


def unpacked_density(model: LearnedScore, about: dict[str, Any], tensors: dict[str, Tensor]) -> PotentialDensity:
    """What `packed_density` was given."""
    deviation = None if about["deviation"] is None else Deviation(**about["deviation"])
    paths = tensors["paths"].numpy()
    return PotentialDensity(model, about["time"], tensors["weights"], paths, Mass(**about["unit"]), deviation)


__all__ = ["packed_density", "packed_model", "unpacked_density", "unpacked_model"]

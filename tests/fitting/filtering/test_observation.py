"""What the columns are: options, the model's extra parameters, refusals by name."""

import json

import pytest
import torch

import pdekit as pk
from pdekit.errors import DataError, InputError, ModelError, UnsupportedError
from pdekit.fitting.filtering import Observation, check_columns, observed_model
from pdekit.fitting.filtering.observation import noise_levels
from pdekit.symbolic import SymbolicSDE


def linear() -> SymbolicSDE:
    return pk.models.get("linear_2d")


def test_estimated_levels_become_parameters_and_known_ones_do_not():
    observation = Observation(of=["y", "x"], noise={"x": "estimate", "y": 0.25})
    model = observed_model(linear(), observation)
    assert model.param_names == (*linear().param_names, "noise_x")
    assert model.params["noise_x"] == (0.0, float("inf"))
    assert model.drift == linear().drift
    assert model.diffusion_matrix == linear().diffusion_matrix
    theta = torch.arange(8.0, dtype=torch.float64).requires_grad_()
    levels = noise_levels(model, observation)(theta)
    assert levels.tolist() == [0.25, 7.0]  # in the order of the columns
    (gradient,) = torch.autograd.grad(levels.sum(), theta)
    assert gradient.tolist() == [0.0] * 7 + [1.0]


def test_a_model_without_levels_to_estimate_is_left_alone():
    assert observed_model(linear(), Observation(noise=0.1)) is not None
    assert observed_model(linear(), Observation(noise=0.1)) == linear()


@pytest.mark.parametrize("noise", [None, 0, 0.0, {}, {"x": None}, {"y": 0}])
def test_no_noise_on_any_state_leaves_nothing_to_filter(noise):
    assert Observation(noise=noise).is_complete(linear())
    assert not Observation(of=["x"], noise=noise if not isinstance(noise, dict) else None).is_complete(linear())


def test_columns_in_another_order_are_not_the_plain_model():
    assert not Observation(of=["y", "x"]).is_complete(linear())


@pytest.mark.parametrize(
    "observation",
    [Observation(), Observation(of="x", noise=0.5), Observation(of=["x", "y"], noise={"y": "estimate", "x": 1})],
)
def test_records_bring_observations_back(observation):
    assert Observation.from_record(json.loads(json.dumps(observation.to_record()))) == observation


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": -1.0}, "at least 0"),
        ({"noise": float("nan")}, "at least 0"),
        ({"noise": True}, "at least 0"),
        ({"noise": "guess"}, "estimate"),
        ({"noise": {"x": float("inf")}}, "of x"),
        ({"of": []}, "name the observed states"),
        ({"of": ["x", "x"]}, "twice"),
        ({"of": ["x"], "noise": {"v": 0.1}}, "'v'"),
    ],
)
def test_bad_options_are_refused_when_built(options, words):
    with pytest.raises(InputError, match=words):
        Observation(**options)


def test_records_of_another_form_are_refused():
    with pytest.raises(InputError, match="keys"):
        Observation.from_record({"of": None})


@pytest.mark.parametrize("observation", [Observation(of=["z"]), Observation(noise={"z": 0.1})])
def test_unknown_states_are_named(observation):
    with pytest.raises(ModelError, match=r"'z'.*x, y"):
        observed_model(linear(), observation)


def test_a_parameter_that_has_the_name_of_a_level_is_refused():
    model = SymbolicSDE("x", "-noise_x*x", "s")
    with pytest.raises(ModelError, match=r"noise_x.*rename"):
        observed_model(model, Observation(noise="estimate"))


def test_levels_of_a_model_without_the_parameter_say_how_to_build_it():
    with pytest.raises(ModelError, match="observed_model"):
        noise_levels(linear(), Observation(noise="estimate"))


def test_a_state_that_nothing_observed_depends_on_is_refused_by_name():
    model = SymbolicSDE(["x", "v", "w"], ["v", "-x - v", "-w + x"], ["0", "1", "1"])
    with pytest.raises(UnsupportedError, match=r"don't determine w.*directly or through others"):
        observed_model(model, Observation(of=["x"]))
    assert observed_model(model, Observation(of=["x", "w"])) is not None


def test_a_hidden_strength_of_the_noise_is_refused_with_its_reason():
    model = SymbolicSDE(["x", "h"], ["-x", "-h"], ["exp(h)", "1"])
    with pytest.raises(UnsupportedError, match=r"determine h.*strength of the noise"):
        observed_model(model, Observation(of=["x"]))


def test_a_chain_of_couplings_counts():
    model = SymbolicSDE(["x", "v", "a"], ["v", "a", "-x - v - a"], ["0", "0", "1"])
    assert observed_model(model, Observation(of=["x"])).dim == 3


def test_columns_must_be_the_observed_states():
    t = [0.0, 1.0, 2.0, 3.0]
    two = pk.Trajectories.from_arrays(t, [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [0.0, 1.0]], names=["y", "x"])
    with pytest.raises(DataError, match=r"1 observed state\(s\) \(x\).*2 \(y, x\)"):
        check_columns(linear(), two, Observation(of=["x"]))
    with pytest.raises(DataError, match="another place"):
        check_columns(linear(), two, Observation())
    check_columns(linear(), two, Observation(of=["y", "x"]))
    other = pk.Trajectories.from_arrays(t, [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [0.0, 1.0]], names=["u", "w"])
    check_columns(linear(), other, Observation())

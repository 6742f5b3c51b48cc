"""Which way of fitting a method means, with a model and without one."""

import pytest

import pdekit as pk
from pdekit.cli.ways import check_method, check_training, learner
from pdekit.errors import InputError


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("auto", pk.SparseSDE),
        ("sparse", pk.SparseSDE),
        ("km", pk.KramersMoyal),
        ("neural", pk.NeuralSDE),
        ("snapshots", pk.SnapshotMatching),
    ],
)
def test_without_a_model(method, kind):
    check_method(method, stated=False)
    assert isinstance(learner(method, (), ()), kind)


def test_a_training_has_its_flags():
    given = {"steps": 7, "seconds": 1.5, "checkpoint": None}
    training = learner("neural", (), (), given).training
    assert (training.steps, training.seconds) == (7, 1.5)
    check_training("neural", given)
    with pytest.raises(InputError, match="--steps belongs to --method neural"):
        check_training("km", given)


def test_terms_are_candidates_of_a_search():
    assert isinstance(learner("sparse", ("x",), ()), pk.SparseSDE)
    with pytest.raises(InputError, match="not to km"):
        learner("km", ("x",), ())


@pytest.mark.parametrize("method", ["mle", "kessler", "weak", "kalman"])
def test_likelihoods_need_a_model(method):
    check_method(method, stated=True)
    with pytest.raises(InputError, match="needs a model"):
        check_method(method, stated=False)

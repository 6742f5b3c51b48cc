import json
import os

import pytest

from pdekit.errors import ExpressionError, InputError
from pdekit.fitting import Fit, fit
from pdekit.fitting.storage import whole_folder


@pytest.fixture(params=["closed-form", "fokker-planck"])
def fitted(request, model, ornstein_uhlenbeck_path):
    sde = model("theta*(mu - x)", "sigma", {"theta": (0, None), "mu": None, "sigma": (0, None)})
    return fit(sde, ornstein_uhlenbeck_path(n=300, dt=0.3), method=request.param)


def test_a_loaded_fit_gives_the_same_answers(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    back = Fit.load(tmp_path / "fit")
    assert back.params == fitted.params
    assert (back.loglik, back.aic, back.route) == (fitted.loglik, fitted.aic, fitted.route)
    assert back.model == fitted.model
    assert back.data.describe() == fitted.data.describe()
    ours, theirs = (f.interval("theta", kind="profile") for f in (fitted, back))
    assert theirs == pytest.approx(ours, rel=1e-3)


def test_nothing_is_replaced_unasked(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    with pytest.raises(InputError, match="exists"):
        fitted.save(tmp_path / "fit")
    fitted.save(tmp_path / "fit", overwrite=True)


def test_a_folder_of_something_else_is_never_replaced(fitted, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="holds no fit"):
        fitted.save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_fit_folder_with_something_beside_the_fit_is_not_replaced(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    (tmp_path / "fit" / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.md"):
        fitted.save(tmp_path / "fit", overwrite=True)
    assert (tmp_path / "fit" / "notes.md").read_text() == "mine"


def test_an_edited_estimate_is_not_read_as_if_it_counted(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    path = tmp_path / "fit" / "model.json"
    document = json.loads(path.read_text())
    document["params"]["theta"]["estimate"] = 2.0
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="was changed"):
        Fit.load(tmp_path / "fit")


def test_an_interrupted_write_leaves_the_previous_result_whole(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    before = (tmp_path / "fit" / "model.json").read_text()

    def interrupted():
        with whole_folder(tmp_path / "fit", overwrite=True) as draft:
            (draft / "model.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "fit" / "model.json").read_text() == before
    assert os.listdir(tmp_path) == ["fit"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=99), "format 99"),
        (lambda d: d.pop("model"), "damaged"),
    ],
)
def test_a_damaged_document_is_refused(fitted, tmp_path, change, message):
    fitted.save(tmp_path / "fit")
    path = tmp_path / "fit" / "model.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        Fit.load(tmp_path / "fit")


def test_a_formula_in_a_model_file_goes_through_the_whitelist(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    path = tmp_path / "fit" / "model.json"
    document = json.loads(path.read_text())
    document["model"]["drift"] = ["__import__('os').system('true')"]
    path.write_text(json.dumps(document))
    with pytest.raises((ExpressionError, InputError)):
        Fit.load(tmp_path / "fit")


@pytest.mark.parametrize("missing", ["model.json", "arrays.safetensors"])
def test_a_missing_file_is_named(fitted, tmp_path, missing):
    fitted.save(tmp_path / "fit")
    (tmp_path / "fit" / missing).unlink()
    with pytest.raises(InputError, match=missing.split(".")[0]):
        Fit.load(tmp_path / "fit")

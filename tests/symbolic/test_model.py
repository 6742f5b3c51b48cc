"""SymbolicSDE: what it accepts, what it finds out, what it refuses, and that records read back equal."""

import json
import math

import pytest
import sympy
import torch

from pdekit.errors import ExpressionError, ModelError
from pdekit.symbolic import SymbolicSDE, models


def ou():
    return SymbolicSDE(
        state=["x"],
        drift=["theta*(mu - x)"],
        diffusion=["sigma"],
        params={"theta": (0, None), "mu": None, "sigma": (0, None)},
        convention="ito",
    )


def test_what_it_says_about_itself():
    model = ou()
    assert (model.dim, model.noise_dim, model.noise_type, model.convention) == (1, 1, "diagonal", "ito")
    assert model.param_names == ("theta", "mu", "sigma")
    assert model.params["theta"] == (0.0, math.inf)
    assert model.separable
    assert model.autonomous
    assert model.domain == ((-math.inf, math.inf),)
    assert [s.is_positive for s in model.param_symbols] == [True, None, True]
    assert repr(model) == "SymbolicSDE(dx = (theta*(mu - x)) dt + (sigma) dW, ito, theta > 0, sigma > 0)"


def test_text_sympy_and_numbers_state_the_same_model():
    x, theta, mu, sigma = sympy.symbols("x theta mu sigma")  # without assumptions: matched by name
    bounds = {"theta": (0, None), "mu": None, "sigma": (0, None)}
    assert SymbolicSDE([x], [theta * (mu - x)], [sigma], params=bounds) == ou()
    assert SymbolicSDE("x", theta * (mu - x), "sigma", params=bounds) == ou()
    assert SymbolicSDE("x", "theta*(mu - x)", sympy.Matrix([[sigma]]), params=bounds) == ou()
    assert hash(SymbolicSDE("x", "theta*(mu - x)", [["sigma"]], params=bounds)) == hash(ou())
    assert SymbolicSDE("x", 0, 1).drift == (0,)
    assert ou() != models.cir()
    assert ou() != "x"


def test_parameters_are_inferred_in_the_order_of_appearance():
    model = SymbolicSDE(["S", "I"], ["-beta*S*I + nu*t", "beta*S*I - gamma*I"], ["alpha*S", "0"])
    assert model.param_names == ("beta", "nu", "gamma", "alpha")
    assert model.params["beta"] == (-math.inf, math.inf)
    assert not model.autonomous


@pytest.mark.parametrize(
    ("diffusion", "noise_type", "noise_dim", "separable"),
    [
        (["a*x", "b"], "diagonal", 2, True),
        (["a*y", "b"], "diagonal", 2, False),
        (["a*t", "b*y"], "diagonal", 2, True),
        ([["a*x", "0"], ["0", "b"]], "diagonal", 2, True),
        ([["a*x"], ["b"]], "scalar", 1, False),
        ([["a", "0"], ["b", "1"]], "additive", 2, False),
        ([["a", "0", "t"], ["b", "1", "2"]], "additive", 3, False),
        ([["a*x", "0"], ["b", "1"]], "general", 2, False),
        (sympy.Matrix([[sympy.Symbol("x"), 0], [1, 1]]), "general", 2, False),
    ],
)
def test_noise_types(diffusion, noise_type, noise_dim, separable):
    model = SymbolicSDE(["x", "y"], ["0", "0"], diffusion, params={"a": None, "b": None})
    assert (model.noise_type, model.noise_dim, model.separable) == (noise_type, noise_dim, separable)
    sde = model.at(a=1.0, b=2.0)
    shape = (5, 2) if noise_type == "diagonal" else (5, 2, noise_dim)
    assert sde.diffusion(0.0, torch.rand(5, 2)).shape == shape
    assert sde.drift(0.0, torch.rand(5, 2)).shape == (5, 2)
    assert model.diffusion_tensor.shape == (2, 2)


def test_symbolic_derivatives():
    model = models.cir()
    x, kappa, sigma = (model._symbols[n] for n in ("x", "kappa", "sigma"))
    assert model.drift_jacobian == sympy.Matrix([[-kappa]])
    assert model.diffusion_tensor == sympy.Matrix([[sigma**2 * x / 2]])


def test_function_takes_text_lists_and_matrices():
    model = ou()
    x, theta = torch.rand(4, 1, dtype=torch.float64), model.theta({"theta": 2.0, "mu": 0.5, "sigma": 0.1})
    assert model.function("theta*x")(0.0, x, theta).tolist() == (2 * x[:, 0]).tolist()
    assert model.function(["x", 1])(0.0, x, theta).shape == (4, 2)
    assert model.function([["x", 1, "mu"], [0, 1, 2]])(0.0, x, theta).shape == (4, 2, 3)
    assert model.function(model.diffusion_matrix)(0.0, x, theta).shape == (4, 1, 1)
    with pytest.raises(ExpressionError, match="unknown name 'z'"):
        model.function("z*x")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at(dtype):
    sde = models.cir().at(kappa=3.0, theta=0.3, sigma=0.2)
    x = torch.tensor([[0.25], [1.0]], dtype=dtype)
    assert sde.drift(0.0, x).dtype == dtype
    torch.testing.assert_close(sde.drift(0.0, x), 3.0 * (0.3 - x))
    torch.testing.assert_close(sde.diffusion(0.0, x), 0.2 * x.sqrt())
    assert (sde.domain, sde.names, sde.sde_type) == (((0.0, math.inf),), ("x",), "ito")
    assert sde.separable
    assert sde.autonomous
    assert models.stochastic_pitchfork().at(a=1.0, sigma=0.5).sde_type == "stratonovich"


def test_at_lets_gradients_through():
    theta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    sde = ou().at(theta=theta, mu=0.5, sigma=torch.tensor(0.1))
    x = torch.tensor([[1.5], [2.5]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(sde.drift(0.0, x).sum(), theta)
    assert gradient.item() == pytest.approx(-3.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"theta": 1.0, "mu": 0.0}, "lack sigma"),
        ({"theta": 1.0, "mu": 0.0, "sigma": 1.0, "sigm": 1.0}, "Unknown parameter 'sigm'.*Did you mean 'sigma'"),
        ({"theta": -1.0, "mu": 0.0, "sigma": 1.0}, r"theta = -1 is outside its bounds \(0, inf\)"),
        ({"theta": math.nan, "mu": 0.0, "sigma": 1.0}, "theta must be finite"),
        ({"theta": "one", "mu": 0.0, "sigma": 1.0}, "theta must be one number"),
        ({"theta": [1.0, 2.0], "mu": 0.0, "sigma": 1.0}, "theta must be one number"),
        ({"theta": torch.ones(2), "mu": 0.0, "sigma": 1.0}, "theta must be one number"),
    ],
)
def test_values_that_do_not_fit(values, message):
    with pytest.raises(ModelError, match=message):
        ou().at(**values)
    with pytest.raises(ModelError, match=message):
        ou().theta(values)


def test_theta_and_named():
    model = ou()
    theta = model.theta({"sigma": 3.0, "theta": 1.0, "mu": 2.0})
    assert theta.tolist() == [1.0, 2.0, 3.0]
    assert theta.dtype == torch.float64
    assert model.named(theta) == {"theta": 1.0, "mu": 2.0, "sigma": 3.0}
    with pytest.raises(ModelError, match="Expected 3 values"):
        model.named([1.0])


def test_fix():
    model = models.ckls().fix(gamma=0.5)
    assert model.param_names == ("alpha", "beta", "sigma")
    assert model.diffusion[0] == model._symbols["sigma"] * sympy.sqrt(model.state[0])
    assert "gamma" not in model.defaults
    assert ou().fix(mu=0.1, theta=1).drift[0] == sympy.Float(0.1) - model._symbols.get(
        "x", sympy.Symbol("x", real=True)
    )
    assert SymbolicSDE.from_dict(ou().fix(mu=0.1).to_dict()) == ou().fix(mu=0.1)
    with pytest.raises(ModelError, match="Unknown parameter"):
        ou().fix(kappa=1)
    with pytest.raises(ModelError, match="outside its bounds"):
        ou().fix(theta=-1)
    with pytest.raises(ModelError, match="no real value at K=0"):
        models.logistic().fix(K=0)


def test_with_bounds():
    model = SymbolicSDE("x", "-k*x", "s").with_bounds(k=(0, None), s=(0, 5))
    assert model.params == {"k": (0.0, math.inf), "s": (0.0, 5.0)}
    assert all(s.is_positive for s in model.param_symbols)
    with pytest.raises(ModelError, match="Unknown parameter 'q'"):
        model.with_bounds(q=None)
    with pytest.raises(ModelError, match="increasing order"):
        model.with_bounds(k=(1, 0))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"drift": ["theta*(mu - y)"]}, ExpressionError, "Drift of x.*unknown name 'y'.*params"),
        ({"drift": [sympy.Symbol("y")]}, ModelError, "contains y"),
        ({"drift": ["x", "x"]}, ModelError, "one entry per state"),
        ({"drift": [None]}, ModelError, "must be text"),
        ({"drift": [math.nan]}, ModelError, "finite"),
        ({"drift": [sympy.nan]}, ModelError, "not a real number"),
        ({"drift": [sympy.Function("h")(sympy.Symbol("x"))]}, ModelError, "no torch counterpart"),
        ({"diffusion": ["sigma", "sigma"]}, ModelError, "`diffusion`"),
        ({"diffusion": []}, ModelError, "`diffusion`"),
        ({"diffusion": [["sigma"], ["sigma"]]}, ModelError, "`diffusion`"),
        ({"diffusion": [["sigma"], "sigma"]}, ModelError, "mixes"),
        ({"diffusion": [[]]}, ModelError, "rows"),
        ({"params": {"theta": (1, 0), "mu": None, "sigma": None}}, ModelError, "bounds of theta"),
        ({"params": {"theta": 3, "mu": None, "sigma": None}}, ModelError, "bounds of theta"),
        ({"params": {"x": None}}, ModelError, "'x' is used twice"),
        ({"params": {"t": None}}, ModelError, "time='s'"),
        ({"params": {"exp": None}}, ExpressionError, "name of a function"),
        ({"params": {"lambda": None}}, ExpressionError, "'lam'"),
        ({"params": ["theta"]}, ModelError, "must map"),
        ({"state": ["x y"]}, ExpressionError, "not a name"),
        ({"convention": "Ito"}, ModelError, "convention"),
        ({"domain": [(0, 1), (0, 1)]}, ModelError, "`domain`"),
        ({"domain": (1, 0)}, ModelError, "domain of x"),
        ({"defaults": {"theta": 1.0}}, ModelError, "defaults lack mu"),
    ],
)
def test_models_that_do_not_fit(changes, error, message):
    arguments = {
        "state": ["x"],
        "drift": ["theta*(mu - x)"],
        "diffusion": ["sigma"],
        "params": {"theta": (0, None), "mu": None, "sigma": (0, None)},
    }
    with pytest.raises(error, match=message):
        SymbolicSDE(**{**arguments, **changes})


@pytest.mark.parametrize("name", list(models.catalogue()))
def test_records_read_back_equal(name):
    model = models.get(name)
    text = json.dumps(model.to_dict(), allow_nan=False)
    again = SymbolicSDE.from_dict(json.loads(text))
    assert again == model
    assert (again.description, again.boundary) == (model.description, model.boundary)
    assert json.dumps(again.to_dict()) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 1, got 2"),
        ({"format": None}, "format 1"),
        ({"drift": None}, "must be a list"),
        ({"params": []}, "must be a dictionary"),
        ({"surprise": 1}, "unknown entries: surprise"),
        ({"drift": ["__import__('os').system('true')"]}, "attributes"),
        ({"drift": ["x.evalf()"]}, "attributes"),
    ],
)
def test_records_that_are_refused(change, message):
    with pytest.raises((ModelError, ExpressionError), match=message):
        SymbolicSDE.from_dict({**ou().to_dict(), **change})
    with pytest.raises(ModelError, match="lacks drift"):
        SymbolicSDE.from_dict({k: v for k, v in ou().to_dict().items() if k != "drift"})
    with pytest.raises(ModelError, match="from a dictionary"):
        SymbolicSDE.from_dict([])


def test_piecewise_works_but_is_not_written():
    x = sympy.Symbol("x")
    model = SymbolicSDE("x", sympy.Piecewise((-x, x > 0), (-2 * x, True)), 1)
    assert model.at().drift(0.0, torch.tensor([[1.0], [-1.0]])).tolist() == [[-1.0], [2.0]]
    assert "Piecewise" in repr(model)
    with pytest.raises(ModelError, match="formula language"):
        model.to_dict()

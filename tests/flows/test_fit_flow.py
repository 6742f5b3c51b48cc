"""Training of flows: a known law is found, held-out figures are honest, resuming is exact."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from pdekit.errors import DataError, InputError
from pdekit.flows import CNF, ContinuousFlow, FlowFit, MaskedFlow, NormalizingFlow, PlanarField, fit_flow, toy
from pdekit.flows.fitting import _seeming
from pdekit.nets import MLP, HollowNet
from pdekit.ode import RK4, Fixed
from pdekit.operators import Exact, Hutchinson
from pdekit.training import Training

FAST = {"method": RK4(), "control": Fixed(0.25)}


def standard(dim=2, dtype=torch.float32):
    return Independent(Normal(torch.zeros(dim, dtype=dtype), 1.0), 1)


def normal():
    return MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.6], [0.6, 0.8]]))


@pytest.mark.parametrize("trace", [Exact(), Hutchinson()])
def test_a_normal_law_is_found(trace):
    law = normal()
    torch.manual_seed(0)
    x = law.sample((4000,))
    fit = fit_flow(CNF(HollowNet(2, time=True, seed=0), standard(), trace, **FAST), x, Training(steps=300, batch=256))
    # The entropy is the least mean of -log p; on 400 held-out samples it is known to about its standard error.
    assert fit.nll == pytest.approx(float(law.entropy()), abs=4 * fit.stderr + 0.02)
    assert len(fit.held_out) == 400
    assert fit.flow.trace == Exact()
    assert fit.reconstruction_error < 1e-3
    y = torch.randn(200, 2)
    assert float((fit.flow.log_prob(y) - law.log_prob(y)).detach().abs().median()) < 0.15
    assert "held-out" in repr(fit)
    assert len(fit.plot().axes) == 2


def test_conditional_laws_are_found():
    torch.manual_seed(0)
    context = torch.rand(3000, 1) * 4 - 2
    x = context + 0.5 * torch.randn(3000, 1)
    flow = CNF(MLP(1, (32,), time=True, context_dim=1, seed=0), standard(1), **FAST)
    fit = fit_flow(flow, x, Training(steps=300, batch=256, rate=1e-2), context=context)
    truth = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert fit.nll == pytest.approx(truth, abs=4 * fit.stderr + 0.03)


def test_samplers_chains_and_end_times():
    end = torch.nn.Parameter(torch.tensor(0.5))
    first = CNF(PlanarField(2, 8, seed=0), standard(), PlanarField(2, 8, seed=0).with_divergence, **FAST)
    first = first.changed(trace=first.field.with_divergence)
    chain = CNF(MLP(2, (16,), time=True, seed=1), first, times=(0.0, end), **FAST)
    before = [p.detach().clone() for p in (*first.field.parameters(), *chain.field.parameters(), end)]
    fit = fit_flow(chain, lambda n, seed: toy("moons", n, seed=seed), Training(steps=5, batch=100), kinetic=0.01)
    after = [*first.field.parameters(), *chain.field.parameters(), end]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    assert len(fit.held_out) == 10_000


def test_a_training_that_is_taken_up_again_ends_the_same(tmp_path):
    x = toy("moons", 400)

    def run(steps, path=None):
        flow = CNF(MLP(2, (8,), time=True, seed=0), standard(), **FAST)
        return fit_flow(flow, x, Training(steps=steps, batch=50, checkpoint=path))

    whole = run(6)
    flow, count = CNF(MLP(2, (8,), time=True, seed=0), standard(), **FAST), []

    def interrupt(what, share):
        count.append(share)
        if len(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_flow(flow, x, Training(steps=6, batch=50, checkpoint=tmp_path / "run"), progress=interrupt)
    again = run(6, tmp_path / "run")
    assert again.nll == whole.nll
    assert again.history.steps.tolist() == whole.history.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert (again.history.losses == whole.history.losses).all()
    with pytest.raises(InputError, match="something else"):
        run(7, tmp_path / "run")
    x = x.copy()
    x[200] += 1e-9
    with pytest.raises(InputError, match="something else"):
        run(6, tmp_path / "run")


def test_random_directions_are_those_of_the_seed():
    x = toy("moons", 400)

    def run(seed):
        flow = CNF(MLP(2, (8,), time=True, seed=0), standard(), Hutchinson(), **FAST)
        return fit_flow(flow, x, Training(steps=3, batch=50), jacobian=0.1, seed=seed).history.losses

    assert (run(1) == run(1)).all()
    assert (run(1) != run(2)).any()


def test_what_makes_no_sense_is_refused():
    flow = CNF(MLP(2, (8,), time=True, seed=0), standard())
    short = Training(steps=1)
    for data, error, said in (
        (np.zeros((100, 3)), InputError, r"\(n, 2\)"),
        (np.zeros((100, 2), dtype=int), InputError, "numbers"),
        (np.full((100, 2), np.nan), DataError, "not finite"),
        (np.zeros((15, 2)), DataError, "held out"),
    ):
        with pytest.raises(error, match=said):
            fit_flow(flow, data, short)
    with pytest.raises(InputError, match="trained"):
        fit_flow(CNF(lambda t, x: -x, standard()), np.zeros((100, 2)), short)
    with pytest.raises(InputError, match="Parameter"):
        fit_flow(flow.changed(times=(0.0, torch.tensor(1.0, requires_grad=True))), np.zeros((100, 2)), short)
    with pytest.raises(InputError, match="share"):
        fit_flow(flow, np.zeros((100, 2)), short, held_out=2.0)
    with pytest.raises(InputError, match="row for each"):
        fit_flow(flow, np.zeros((100, 2)), short, context=torch.zeros(3, 1))


def test_a_training_that_profits_from_its_steps_is_told():
    """The same laws by one coarse step and by a tolerance: what differs is the error of the step."""
    x = toy("moons", 2000)
    field = MLP(2, (16,), time=True, seed=0)
    coarse = CNF(field, standard(), method=RK4(), control=Fixed(1.0))
    fit = fit_flow(coarse, x, Training(steps=400, batch=128, rate=3e-2))
    with torch.no_grad():
        seen = -float(coarse.log_prob(fit_held(x)).mean())
    assert fit.nll_in_training == pytest.approx(seen, abs=1e-4)
    assert fit.nll - fit.nll_in_training > 2 * fit.stderr
    assert "by the steps of the training" in repr(fit)
    gentle = CNF(MLP(2, (16,), time=True, seed=0), standard(), method=RK4(), control=Fixed(0.05))
    fine = fit_flow(gentle, x, Training(steps=5, batch=128))
    assert fine.nll == pytest.approx(fine.nll_in_training, abs=1e-4)
    assert "by the steps" not in repr(fine)


def test_steps_that_fail_on_held_out_samples_do_not_cost_the_training():
    x = torch.full((3, 2), 3.0)
    pushed = CNF(lambda t, z: 1e3 * z**3, standard())  # backwards in time it only slows down
    coarse = pushed.changed(method=RK4(), control=Fixed(1.0))
    assert torch.isfinite(pushed.log_prob(x)).all()
    assert math.isnan(_seeming(coarse, x))
    fit = fit_flow(CNF(MLP(2, (4,), time=True, seed=0), standard(), **FAST), toy("moons", 100), Training(steps=1))
    assert "steps of the training fail" in repr(replace(fit, nll_in_training=math.nan))


def test_the_steps_of_a_base_count_too():
    """A chain whose base is solved by one coarse step, under discrete layers and under a continuous flow."""
    x = toy("moons", 2000)
    base = CNF(MLP(2, (16,), time=True, seed=0), standard(), Hutchinson(), method=RK4(), control=Fixed(1.0))
    alone = fit_flow(base, x, Training(steps=400, batch=128, rate=3e-2))
    assert alone.nll - alone.nll_in_training > 0.02
    layer = MaskedFlow(2, layers=1, hidden=(4,), seed=0)
    fit = fit_flow(NormalizingFlow(layer, base), x, Training(steps=1, batch=128, rate=1e-6))
    assert fit.nll - fit.nll_in_training > 0.02
    assert fit.evaluations == pytest.approx(alone.evaluations, rel=0.5)
    field = MLP(2, (4,), time=True, seed=1)
    chain = fit_flow(CNF(field, base, **FAST), x, Training(steps=1, batch=128, rate=1e-6))
    assert chain.nll - chain.nll_in_training > 0.02
    assert chain.evaluations > fit.evaluations
    assert (
        chain.reconstruction_error >= CNF(field, standard()).passage(chain.held_out.new_ones(1, 2)).reconstruction_error
    )
    judged = chain.flow.log_prob(fit_held(x))
    torch.testing.assert_close(chain.held_out, -judged.detach())


def fit_held(x):
    """What a fit with seed 0 holds out of these samples by default."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(x).float()[order[: len(x) // 10]]


def test_samples_to_judge_by_are_given():
    x, others = toy("moons", 200), toy("moons", 50, seed=1)
    flow = CNF(MLP(2, (8,), time=True, seed=0), standard(), **FAST)
    fit = fit_flow(flow, x, Training(steps=2, batch=50), held_out=others)
    assert torch.equal(fit.held_out, -fit.flow.log_prob(torch.from_numpy(others).float()).detach())
    flow = CNF(MLP(2, (8,), time=True, context_dim=1, seed=0), standard(), **FAST)
    context, told = torch.randn(200, 1), torch.randn(50, 1)
    fit = fit_flow(flow, x, Training(steps=2, batch=50), context=context, held_out=(others, told))
    expected = -fit.flow.given(told).log_prob(torch.from_numpy(others).float())
    assert torch.equal(fit.held_out, expected.detach())
    short = Training(steps=1)
    for given, error, said in (
        (others, InputError, "contexts"),
        ((others, told[:9]), InputError, "row for each"),
        ((others[:5], told[:5]), DataError, "held out"),
        ((others[:, :1], told), InputError, r"held_out must be .*\(n, 2\)"),
        ((others, told[:, 0]), InputError, r"\(50, c\)"),
    ):
        with pytest.raises(error, match=said):
            fit_flow(flow, x, short, context=context, held_out=given)
    with pytest.raises(InputError, match="fresh samples"):
        fit_flow(flow, lambda n, seed: toy("moons", n, seed=seed), short, held_out=others)


def test_a_fit_is_saved_and_loaded(tmp_path):
    x = toy("moons", 400).astype(np.float32)

    def made(seed):
        return CNF(HollowNet(2, time=True, seed=seed), standard(), method=RK4(), control=Fixed(0.5))

    fit = fit_flow(made(0), x, Training(steps=20, batch=64))
    fit.save(tmp_path / "fit.safetensors")
    again = FlowFit.load(tmp_path / "fit.safetensors", made(1))
    assert repr(again) == repr(fit)
    states = torch.from_numpy(x[:5])
    torch.testing.assert_close(again.flow.log_prob(states), fit.flow.log_prob(states), rtol=0, atol=0)
    with pytest.raises(InputError, match="don't fit"):
        FlowFit.load(tmp_path / "fit.safetensors", CNF(MLP(2, (4,), time=True, seed=0), standard()))


def test_discrete_layers_are_fitted_the_same_way(tmp_path):
    """A shifted, stretched normal law: an affine coupling reaches its entropy."""
    torch.manual_seed(0)
    x = torch.randn(4000, 2) * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -1.0])
    flow = NormalizingFlow(MaskedFlow(2, "autoregressive", 2, (16,), seed=0), standard())
    fit = fit_flow(flow, x, Training(steps=400, batch=256, rate=1e-2))
    entropy = math.log(2 * math.pi * math.e) + math.log(2.0 * 0.5)
    assert fit.nll == pytest.approx(entropy, abs=0.1)
    assert np.isnan(fit.evaluations)
    assert fit.reconstruction_error < 1e-4
    assert "evaluations" not in repr(fit)
    fit.save(tmp_path / "fit.safetensors")
    again = FlowFit.load(tmp_path / "fit.safetensors", flow)
    assert repr(again) == repr(fit)
    assert len(fit.plot(points=20).axes) == 2
    with pytest.raises(InputError, match="Discrete layers"):
        fit_flow(flow, x, Training(steps=2), kinetic=1.0)


def test_a_continuous_layer_is_fitted_as_a_continuous_flow():
    layer = ContinuousFlow(HollowNet(2, time=True, seed=0))
    with pytest.raises(InputError, match="CNF"):
        fit_flow(NormalizingFlow(layer, standard()), toy("moons", 100), Training(steps=2))


def test_a_checkpoint_of_other_options_is_refused(tmp_path):
    x = toy("moons", 100)
    training = Training(steps=2, batch=20, checkpoint=tmp_path / "run.safetensors")

    def made(**options):
        return CNF(HollowNet(2, time=True, seed=0), standard(), **{**FAST, **options})

    fit_flow(made(), x, training)
    for options in ({"trace": Hutchinson()}, {"control": Fixed(0.5)}):
        with pytest.raises(InputError, match="something else"):
            fit_flow(made(**options), x, training)

import pytest
import torch

from pdekit.errors import ModelError
from pdekit.nets.conditioners.others import OtherEntries
from pdekit.nets.conditioners.pooling import (
    _POOLS,
    Embedding,
    ExclusivePool,
    PoolingConditioner,
    exclusive,
    normal_points,
)

POOLS = list(_POOLS)
SLOW = {
    "mean": lambda rows: rows.sum(-2),
    "max": lambda rows: rows.amax(-2),
    "logsumexp": lambda rows: rows.logsumexp(-2),
}


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("pool", POOLS)
def test_exclusive_pools_match_leaving_each_out_by_hand(pool, n):
    elements = 3 * torch.randn(4, n, 5, dtype=torch.float64)
    slow = [SLOW[pool](elements[:, [q for q in range(n) if q != p]]) for p in range(n)]
    torch.testing.assert_close(exclusive(elements, *_POOLS[pool]), torch.stack(slow, -2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_is_free_of_its_own_particle_even_if_that_is_no_number(pool):
    elements = torch.randn(5, 3)
    broken = elements.clone()
    broken[2] = torch.nan
    pooled, other = exclusive(elements, *_POOLS[pool]), exclusive(broken, *_POOLS[pool])
    assert torch.equal(pooled[2], other[2])
    assert other[[0, 1, 3, 4]].isnan().all()


@pytest.mark.parametrize("particle_dim", [1, 2])
@pytest.mark.parametrize("pool", POOLS)
def test_permuting_particles_permutes_features(pool, particle_dim):
    conditioner = PoolingConditioner(pool=pool, particle_dim=particle_dim).build(7 * particle_dim, 1).double()
    particles, z = torch.randn(3, 7, particle_dim, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)
    order = torch.tensor([3, 6, 0, 1, 5, 2, 4])
    h = conditioner(particles.flatten(1), z).unflatten(1, (7, particle_dim))
    permuted = conditioner(particles[:, order].flatten(1), z).unflatten(1, (7, particle_dim))
    torch.testing.assert_close(permuted, h[:, order], rtol=1e-11, atol=1e-12)
    assert not torch.allclose(h, h[:, order], atol=1e-3)


def test_coordinates_of_a_particle_are_told_apart():
    conditioner = PoolingConditioner(particle_dim=2).build(4)
    x = torch.randn(2, 2, 2)
    h = conditioner(x.flatten(1)).unflatten(1, (2, 2))
    assert not torch.allclose(conditioner(x.flip(2).flatten(1)).unflatten(1, (2, 2)), h.flip(2), atol=1e-3)


@pytest.mark.parametrize("particle_dim", [1, 3])
@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
def test_element_features_are_standardised(particle_dim, activation):
    torch.manual_seed(1)
    embedding = Embedding(particle_dim, (16, 24), activation)
    with torch.no_grad():
        features = embedding(torch.randn(200_000, particle_dim))
    # Means are known to 1 / sqrt(200,000) = 0.0022, here and, more closely, at the points they were fixed with.
    assert features.mean(0).abs().max() < 0.015
    assert (features.std(0) - 1).abs().max() < 0.02


@pytest.mark.parametrize("m", [1, 10, 1000])
@pytest.mark.parametrize("pool", POOLS)
def test_pools_are_standardised_at_any_number_of_particles(pool, m):
    with torch.no_grad():
        pooled = ExclusivePool(pool, Embedding(1, (32,), "tanh"), m)(torch.randn(300, m + 1, 1))[:, 0]
    assert pooled.mean(0).abs().max() < (0.3 if pool == "mean" else 1.5)
    assert 0.7 < pooled.std(0).square().mean().sqrt() < 1.4


def test_the_mean_of_many_particles_is_not_lost():
    """Divided by n - 1 instead of its root, features of 10,000 particles would vary by 0.01."""
    conditioner = PoolingConditioner().build(10_000)
    with torch.no_grad():
        h = conditioner(torch.randn(40, 10_000))
    assert 0.5 < h.std(0).square().mean().sqrt() < 2


def test_cost_is_linear_in_the_dimension():
    def largest(dim):
        x = torch.randn(1, dim)
        conditioner = PoolingConditioner().build(dim)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            conditioner(x.requires_grad_())
        return sum(sizes)

    assert largest(4000) < 4.1 * largest(1000)


def test_normal_points_are_the_same_in_every_run_and_leave_the_generator_alone():
    torch.manual_seed(3)
    first, drawn = normal_points(2), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first, normal_points(2))
    assert first.isfinite().all()
    torch.testing.assert_close(torch.cov(first.mT), torch.eye(2), rtol=0, atol=5e-3)


def test_other_entries_match_a_masked_map():
    others = OtherEntries(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    full = torch.zeros(4, 4, 3, dtype=torch.float64)
    for own in range(4):
        full[own, [other for other in range(4) if other != own]] = others.weight.detach()[own]
    torch.testing.assert_close(others(x), torch.einsum("no,cof->ncf", x, full))


def test_particles_must_fill_the_state():
    with pytest.raises(ModelError, match="particle_dim=3 coordinates, which does not divide dim=7"):
        PoolingConditioner(particle_dim=3).build(7)

import dataclasses
import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from pdekit.errors import ModelError
from pdekit.nets.conditioners.convolution import ConvolutionConditioner, Neighbours

MODES = {"circular": "circular", "zeros": "constant"}


def window(options, weight):
    """The weights of a patch map (features, offsets * channels) as those of a convolution with a zero in its centre."""
    kernel = torch.zeros(len(weight), options.channels, *(options.kernel,) * len(options.shape), dtype=weight.dtype)
    columns = weight.unflatten(1, (-1, options.channels))
    for column, offset in enumerate(options.offsets(1)):
        kernel[(slice(None), slice(None), *(o + options.kernel // 2 for o in offset))] = columns[:, column]
    return kernel


@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("shape", [(9,), (5, 7)])
def test_the_first_stage_is_a_convolution_without_its_centre(shape, channels, padding):
    options = ConvolutionConditioner(shape=shape, channels=channels, padding=padding, kernel=5)
    weight = torch.randn(3, len(options.offsets(1)) * channels, dtype=torch.float64)
    values = torch.randn(2, channels, math.prod(shape), dtype=torch.float64)
    patches = Neighbours(options, 1)(values.mT)
    padded = F.pad(values.unflatten(2, shape), (2, 2) * len(shape), mode=MODES[padding])
    convolution = {1: F.conv1d, 2: F.conv2d}[len(shape)]
    expected = convolution(padded, window(options, weight)).flatten(2).mT
    torch.testing.assert_close(patches @ weight.mT, expected, rtol=1e-12, atol=1e-12)


def test_state_dependent_kernels_match_a_loop():
    options = ConvolutionConditioner(shape=(4, 5), kernel=3, dilations=(1, 1), channels=2, hidden=(6,))
    conditioner = options.build(40).double()
    stage = conditioner.stages[0]
    v = torch.randn(20 * 2, 6, dtype=torch.float64)  # site by site, both channels of each
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    patch = conditioner.neighbours[1](x.flatten(1).mT).repeat_interleave(2, 0)
    y = torch.zeros(4, 5, 2, options.features, dtype=torch.float64)
    for row, column, channel in product(range(4), range(5), range(2)):
        kernel = stage.kernels(v[(row * 5 + column) * 2 + channel]).view(options.features, 8, 2)
        for number, (down, right) in enumerate(options.offsets(1)):
            y[row, column, channel] += kernel[:, number] @ x[:, (row + down) % 4, (column + right) % 5]
    expected = stage.network(stage.carry(v) + stage.mix(y.flatten(0, 2)))
    torch.testing.assert_close(stage(v, patch, None), expected, rtol=1e-12, atol=1e-12)


def test_kernels_depend_on_the_state():
    conditioner = ConvolutionConditioner(shape=(9,), kernel=3, dilations=(1, 3), hidden=(8,)).build(9).double()
    x = torch.randn(9, dtype=torch.float64)
    v = [
        conditioner.network(conditioner.patch(conditioner.neighbours[0](y[:, None])) + conditioner.bias)
        for y in (x, -x)
    ]
    kernels = [conditioner.stages[0].kernels(w) for w in v]
    assert (kernels[0] - kernels[1]).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(8,), (4, 6), (2, 3, 2)])
def test_shifting_a_circular_grid_shifts_the_features(shape):
    conditioner = ConvolutionConditioner(shape=shape, channels=2, kernel=3, dilations=(1, 2)).build(
        2 * math.prod(shape)
    )
    conditioner = conditioner.double()
    x = torch.randn(2, *shape, dtype=torch.float64)
    h = conditioner(x.flatten()).unflatten(0, (2, *shape))
    for axis in range(1, 1 + len(shape)):
        shifted = conditioner(x.roll(1, axis).flatten()).unflatten(0, (2, *shape))
        torch.testing.assert_close(shifted, h.roll(1, axis), rtol=1e-12, atol=1e-13)


GRIDS = [
    *(
        {"shape": (n,), "kernel": k, "dilations": (1, s)}
        for n in (1, 2, 3, 4, 5, 8)
        for k in (3, 5)
        for s in (1, 2, 3, 4)
    ),
    *({"shape": s, "dilations": (1, 2)} for s in [(1, 1), (1, 4), (2, 2), (3, 4), (5, 2), (2, 3, 2)]),
    {"shape": (3, 2), "kernel": 3, "dilations": (1, 2), "channels": 2},
    {"shape": (2,), "kernel": 3, "dilations": (2, 1), "channels": 3},
]


@pytest.mark.parametrize("padding", MODES)
def test_small_grids_are_hollow_and_see_what_they_say(padding):
    for grid in GRIDS:
        options = ConvolutionConditioner(**grid, padding=padding, hidden=(8,), features=4)
        dim = options.channels * math.prod(options.shape)
        conditioner = options.build(dim).double()
        jacobian = torch.func.vmap(torch.func.jacrev(conditioner))(torch.randn(3, dim, dtype=torch.float64))
        seen = (jacobian != 0).any(0).any(1)
        assert torch.equal(seen, conditioner.visible()), grid
        assert not seen.diagonal().any(), grid
        x = torch.randn(dim, dtype=torch.float64)
        for i in range(dim):
            replaced = x.clone()
            replaced[i] = 1e30
            assert torch.equal(conditioner(x)[i], conditioner(replaced)[i]), grid


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"shape": (9,), "kernel": 3, "dilations": (1,)}, [-1, 1]),
        ({"shape": (9,), "kernel": 5, "dilations": (1, 2)}, [-4, -2, -1, 1, 2, 4]),
        ({"shape": (4,), "kernel": 5, "dilations": (1,)}, [-2, -1, 1]),  # 2 sites right is 2 sites left
        ({"shape": (4,), "kernel": 5, "dilations": (2,)}, [-2]),  # 4 sites away is the site itself
        ({"shape": (3,), "kernel": 3, "dilations": (3,)}, []),
        ({"shape": (3,), "kernel": 7, "dilations": (1,), "padding": "zeros"}, [-2, -1, 1, 2]),
        ({"shape": (1,), "kernel": 3, "dilations": (1, 2), "padding": "zeros"}, []),
    ],
)
def test_the_receptive_field(grid, expected):
    assert ConvolutionConditioner(**grid).receptive_field == tuple((offset,) for offset in expected)


def test_the_receptive_field_in_two_dimensions():
    field = ConvolutionConditioner(shape=(20, 20), kernel=3, dilations=(1, 4)).receptive_field
    assert set(field) == {(s * a, s * b) for s in (1, 4) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b}


def test_what_is_visible_is_the_receptive_field_of_each_site():
    options = ConvolutionConditioner(shape=(6, 7), kernel=3, dilations=(1, 2))
    for padding in MODES:
        visible = dataclasses.replace(options, padding=padding).build(42).visible().view(6, 7, 6, 7)
        for row, column in product(range(6), range(7)):
            sites = {(row + down, column + right) for down, right in options.receptive_field}
            if padding == "circular":
                sites = {(r % 6, c % 7) for r, c in sites}
            sites = {(r, c) for r, c in sites if 0 <= r < 6 and 0 <= c < 7}
            assert {tuple(site) for site in visible[row, column].nonzero().tolist()} == sites


def test_a_pixel_sees_its_other_channels():
    conditioner = ConvolutionConditioner(shape=(9,), channels=3, kernel=3, dilations=(1,)).build(27)
    visible = conditioner.visible().view(3, 9, 3, 9)
    assert torch.equal(visible[:, 4, :, 4], ~torch.eye(3, dtype=torch.bool))
    assert visible[:, 4, :, [3, 5]].all()
    assert not visible[:, 4, :, [0, 1, 2, 6, 7, 8]].any()


def test_a_grid_must_have_the_size_of_the_state():
    with pytest.raises(ModelError, match=r"shape=\(3, 4\) with channels=2, which is 24 entries, got dim=12"):
        ConvolutionConditioner(shape=(3, 4), channels=2).build(12)

"""Networks as files: what comes back is what was saved, and what is no such file is refused."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pdekit.errors import InputError
from pdekit.nets import MLP, ConcatSquashMLP, HollowNet, MaskedConditioner, MLPTransformer
from pdekit.nets.parts import catalogue, described, rebuilt

CASES = {
    "hollow": lambda: HollowNet(
        5, MaskedConditioner(3, (6, 4), block=2), MLPTransformer((4, 3)), time=True, context_dim=2, channels=2
    ),
    "hollow-default": lambda: HollowNet(5, modulation="concatenate", time=True, context_dim=2),
    "mlp": lambda: MLP(5, (4,), "silu", "scalar", time=True, context_dim=2, modulation="concatenate"),
    "concat-squash": lambda: ConcatSquashMLP(5, (4,), out_dim=2, context_dim=2),
}


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = 2
        self.weight = nn.Parameter(torch.randn(2))

    def forward(self, x, z):
        return torch.zeros_like(x).unsqueeze(-1) + self.weight


def header(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["pdekit"])


def rewrite(path, change):
    """The file again, with another header."""
    document = header(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document = change(document) or document
    save_file(tensors, path, metadata={"pdekit": json.dumps(document)})


@pytest.fixture(params=CASES)
def net(request):
    return CASES[request.param]()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_network_comes_back(net, dtype, tmp_path):
    net = net.to(dtype)
    net.save(tmp_path / "net.safetensors")
    again = type(net).load(tmp_path / "net.safetensors")
    x, c = torch.randn(3, 5, dtype=dtype), torch.randn(2, dtype=dtype)
    assert torch.equal(again(0.5, x, context=c), net(0.5, x, context=c))
    assert repr(again) == repr(net)
    assert {p.dtype for p in again.parameters()} == {dtype}
    assert all(p.requires_grad for p in again.parameters())
    assert (
        again.architecture() == json.loads(json.dumps(net.architecture())) or again.architecture() == net.architecture()
    )


def test_the_header_is_plain_json_with_a_format(net, tmp_path):
    net.save(tmp_path / "net")
    document = header(tmp_path / "net")
    assert document["format"] == 1
    assert document["kind"] == type(net).__name__
    assert document["architecture"]["dim"] == 5


def test_saving_replaces_the_file_and_leaves_nothing_else(net, tmp_path):
    for _ in range(2):
        net.save(tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "net").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_format_is_refused(net, tmp_path, version):
    net.save(tmp_path / "net")
    rewrite(tmp_path / "net", lambda document: document.update(format=version))
    with pytest.raises(InputError, match=f"has format {version!r}; this version of pdekit reads format 1"):
        type(net).load(tmp_path / "net")


def test_another_kind_is_refused(tmp_path):
    MLP(3).save(tmp_path / "net")
    with pytest.raises(InputError, match=r"holds a MLP, not a HollowNet. Load it with MLP.load"):
        HollowNet.load(tmp_path / "net")


def test_what_is_no_saved_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        MLP.load(tmp_path / "absent")
    (tmp_path / "text").write_text("not a network")
    with pytest.raises(InputError, match="can't be read as a saved network"):
        MLP.load(tmp_path / "text")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="without a network of pdekit"):
        MLP.load(tmp_path / "other")
    torch.save(MLP(3).state_dict(), tmp_path / "pickle")
    with pytest.raises(InputError, match="can't be read as a saved network"):
        MLP.load(tmp_path / "pickle")
    with pytest.raises(InputError, match="can't be written"):
        MLP(3).save(tmp_path / "absent" / "net")


@pytest.mark.parametrize(
    "change",
    [
        lambda architecture: architecture.pop("dim"),
        lambda architecture: architecture.update(dim=0),
        lambda architecture: architecture.update(dim=60),
        lambda architecture: architecture.update(unknown=1),
        lambda architecture: architecture.update(time="yes"),
    ],
)
def test_a_damaged_description_is_refused(net, tmp_path, change):
    net.save(tmp_path / "net")
    rewrite(tmp_path / "net", lambda document: change(document["architecture"]) and None)
    with pytest.raises(InputError, match=r"can't be rebuilt|don't fit"):
        type(net).load(tmp_path / "net")


def test_a_part_of_another_version_is_refused(tmp_path):
    HollowNet(3).save(tmp_path / "net")
    rewrite(tmp_path / "net", lambda document: document["architecture"]["conditioner"].update(name="Spectral"))
    with pytest.raises(InputError, match="has no conditioner called 'Spectral'"):
        HollowNet.load(tmp_path / "net")
    rewrite(tmp_path / "net", lambda document: document["architecture"]["conditioner"].update(name="Conditioner"))
    with pytest.raises(InputError, match="has no conditioner called 'Conditioner'"):
        HollowNet.load(tmp_path / "net")


def test_a_module_of_the_users_own_keeps_its_parameters_but_is_not_rebuilt(tmp_path):
    net, x = HollowNet(3, Own(), time=True), torch.randn(4, 3)
    net.save(tmp_path / "net")
    with pytest.raises(InputError, match=r"conditioner .* module of your own, Own.*net.load_state\(path\)"):
        HollowNet.load(tmp_path / "net")
    other = HollowNet(3, Own(), time=True)
    assert not torch.equal(other(0.5, x), net(0.5, x))
    assert other.load_state(tmp_path / "net") is other
    assert torch.equal(other(0.5, x), net(0.5, x))


def test_parameters_of_another_architecture_are_refused(tmp_path):
    MLP(3, (4,)).save(tmp_path / "net")
    with pytest.raises(InputError, match=r"(?s)don't fit this network.*size mismatch"):
        MLP(3, (5,)).load_state(tmp_path / "net")


def test_parts_are_described_and_rebuilt():
    for options in (MaskedConditioner(hidden=(3,)), MLPTransformer()):
        assert rebuilt("part", json.loads(json.dumps(described(options)))) == options
    assert described(Own()) == {"name": "Own", "options": None}
    assert all(hasattr(kind, "build") for kind in catalogue().values())


def test_options_that_only_share_a_name_are_the_users_own():
    @dataclass(frozen=True)
    class MaskedConditioner:
        features: int = 8

    assert described(MaskedConditioner()) == {"name": "MaskedConditioner", "options": None}

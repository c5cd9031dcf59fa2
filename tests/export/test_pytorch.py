"""Against the real PyTorch 2.13: its files in both formats, its ONNX graphs, its own forward pass.

The networks are written as their publishers write them, each with its own names and places of the additions.
"""

import collections
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from export.checkpoint import open_checkpoint
from export.convert import ConversionOptions, convert
from export.errors import CheckpointError, TopologyError
from export.presets import Told
from export.source import open_network

pytestmark = [
    pytest.mark.pytorch,
    pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch: make test installs it"),
]
PAIRS, WIDTHS, SIZE = (1, 2, 1, 0), (4, 6, 8, 10), 16
FORMATS = {"zip": True, "old": False}


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return torch


def clcarwin(torch, pairs=PAIRS, widths=WIDTHS, size=SIZE):
    """``conv1_1``, ``relu1_1``, ``fc5`` and the training head ``fc6``; 112 x 96."""
    nn = torch.nn

    class Sphere20a(nn.Module):
        def __init__(self):
            super().__init__()
            before = 3
            for stage, (count, width) in enumerate(zip(pairs, widths, strict=True), start=1):
                for number in range(1, 2 + 2 * count):
                    stride = 2 if number == 1 else 1
                    self.add_module(f"conv{stage}_{number}", nn.Conv2d(before, width, 3, stride, 1))
                    self.add_module(f"relu{stage}_{number}", nn.PReLU(width))
                    before = width
            self.fc5 = nn.Linear(before * 7 * 6, size)
            self.fc6 = nn.Linear(size, 30, bias=False)

        def unit(self, layer, x):
            return self.get_submodule(f"relu{layer}")(self.get_submodule(f"conv{layer}")(x))

        def forward(self, x):
            for stage, count in enumerate(pairs, start=1):
                x = self.unit(f"{stage}_1", x)
                for pair in range(1, count + 1):
                    x = x + self.unit(f"{stage}_{2 * pair + 1}", self.unit(f"{stage}_{2 * pair}", x))
            return self.fc5(x.flatten(1))

    return Sphere20a()


def uniface(torch, pairs=PAIRS, widths=WIDTHS, size=SIZE, *, normalized=False):
    """``layer1.0.0``, ``layer1.1.block.0.0``, ``fc``; 112 x 112, residual convolutions without bias."""
    nn = torch.nn

    def unit(before, width, stride, bias):
        normalization = [nn.BatchNorm2d(width)] if normalized else []
        return nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=bias), *normalization, nn.PReLU(width))

    class Pair(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.block = nn.Sequential(unit(width, width, 1, False), unit(width, width, 1, False))

        def forward(self, x):
            return x + self.block(x)

    class SphereNet(nn.Module):
        def __init__(self):
            super().__init__()
            before = 3
            for stage, (count, width) in enumerate(zip(pairs, widths, strict=True), start=1):
                parts = [unit(before, width, 2, True), *(Pair(width) for _ in range(count))]
                self.add_module(f"layer{stage}", nn.Sequential(*parts))
                before = width
            self.fc = nn.Linear(before * 7 * 7, size)

        def forward(self, x):
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(torch.flatten(x, 1))

    return SphereNet()


def opensphere(torch, pairs=PAIRS, widths=WIDTHS, size=SIZE, *, normalized=False, adds_last=False, first="conv1"):
    """``layer1.0.conv1``, ``layer1.1.conv2``, ``fc``, ``features``; 112 x 112, ReLU."""
    nn = torch.nn
    normalization = nn.BatchNorm2d if normalized else nn.Identity

    class Start(nn.Module):
        def __init__(self, before, width):
            super().__init__()
            self.add_module(first, nn.Conv2d(before, width, 3, 2, 1, bias=not normalized))
            self.bn1 = normalization(width)

        def forward(self, x):
            return torch.relu(self.bn1(self.get_submodule(first)(x)))

    class Pair(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=not normalized)
            self.bn1 = normalization(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=not normalized)
            self.bn2 = normalization(width)

        def forward(self, x):
            out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(out) + x if adds_last else torch.relu(out + x)

    class SFNet(nn.Module):
        def __init__(self):
            super().__init__()
            before = 3
            for stage, (count, width) in enumerate(zip(pairs, widths, strict=True), start=1):
                parts = [Start(before, width), *(Pair(width) for _ in range(count))]
                self.add_module(f"layer{stage}", nn.Sequential(*parts))
                before = width
            self.fc = nn.Linear(before * 7 * 7, size)
            self.features = nn.BatchNorm1d(size) if normalized else nn.Identity()

        def forward(self, x):
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.features(self.fc(torch.flatten(x, 1)))

    return SFNet()


NETWORKS = {
    "clcarwin": (clcarwin, {}, "clcarwin"),
    "uniface": (uniface, {}, "uniface"),
    "uniface-bn": (uniface, {"normalized": True}, "uniface"),
    "sfnet": (opensphere, {}, "opensphere"),
    "sfnet-bn": (opensphere, {"normalized": True}, "opensphere"),
    "sfnet_deprecated": (opensphere, {"adds_last": True}, "opensphere-deprecated"),
    "sfnet_deprecated, later names": (opensphere, {"adds_last": True, "first": "conv"}, "opensphere-deprecated"),
}
MUST_BE_TOLD = {"sfnet", "sfnet_deprecated"}
"""Networks with the same names and different sums."""


def trained(torch, name, **sizes):
    """A network with slopes and statistics that differ from those it starts with."""
    make, options, preset = NETWORKS[name]
    network = make(torch, **options, **sizes).eval()
    random = np.random.default_rng(1)
    with torch.no_grad():
        for full, values in [*network.named_parameters(), *network.named_buffers()]:
            drawn = torch.from_numpy(random.uniform(0.1, 0.6, values.shape))
            if full.endswith("running_var") or (values.ndim == 1 and full.endswith("weight")):
                values.copy_(drawn)
            elif values.ndim == 1:
                values.copy_(drawn - 0.3)
            elif values.ndim == 4:
                values.mul_(2)
    return network, preset


def embed(torch, network, crops, preset):
    """The publisher's own preprocessing of BGR crops, and its forward pass."""
    if preset == "clcarwin":
        values = (crops.transpose(0, 3, 1, 2) - 127.5) / 128
    else:
        values = (crops[..., ::-1].transpose(0, 3, 1, 2) - 127.5) / 127.5
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(values, np.float32))).numpy()


def random_crops(embedder, count=3):
    return np.random.default_rng(2).integers(0, 256, (count, *embedder.spec.crop_shape), np.uint8)


def assert_embeds_as(torch, path, network, preset):
    embedder = Embedder(path, provider="cpu")
    crops = random_crops(embedder)
    assert agreement(embed(torch, network, crops, preset), embedder.forward(crops)).max_abs_error <= 1e-5


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_publishers(torch, tmp_path, name, file_format):
    network, preset = trained(torch, name)
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=FORMATS[file_format])
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.entries) == set(network.state_dict())
        for full, values in network.state_dict().items():
            assert checkpoint.read(full).tobytes() == values.numpy().tobytes()
    told = preset if name in MUST_BE_TOLD else None
    made = convert(path, tmp_path / "x.onnx", ConversionOptions(told=Told(preset=told)))
    assert made.source.preset.name == preset
    assert made.topology.pairs == PAIRS
    assert made.proof.reference[0] == "numpy"
    assert_embeds_as(torch, made.model, network, preset)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_graphs_of_publishers(torch, tmp_path, name):
    network, preset = trained(torch, name)
    path = tmp_path / "weights.onnx"
    to_onnx(torch, network, path, (112, 96 if preset == "clcarwin" else 112))
    made = convert(path, tmp_path / "x.onnx", ConversionOptions(told=Told(preset=preset)))
    assert made.topology.pairs == PAIRS
    assert_embeds_as(torch, made.model, network, preset)


def to_onnx(torch, network, path, size, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no onnxscript announces its end
        torch.onnx.export(network, torch.zeros(1, 3, *size), path, dynamo=False, **options)


@pytest.mark.parametrize("name", ["sfnet-bn", "uniface-bn"])
def test_graphs_with_batch_normalization_left_in(torch, tmp_path, name):
    network, preset = trained(torch, name)
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    to_onnx(torch, network, tmp_path / "weights.onnx", (112, 112), **keep)
    made = convert(tmp_path / "weights.onnx", tmp_path / "x.onnx", ConversionOptions(told=Told(preset=preset)))
    assert made.topology.is_normalized
    assert_embeds_as(torch, made.model, network, preset)


@pytest.mark.parametrize("file_format", FORMATS)
def test_types_layouts_and_views(torch, tmp_path, file_format):
    random = np.random.default_rng(0)
    base = torch.from_numpy(random.standard_normal((4, 3, 2, 5)))
    state = collections.OrderedDict(
        double=base,
        single=base.float(),
        half=base.half(),
        brain=base.bfloat16(),
        channels_last=base.float().contiguous(memory_format=torch.channels_last),
        transposed=base[0, 0].float().T,
        part=base.float()[1:3],
        one=base.float()[:1].transpose(0, 1),
        count=torch.tensor(7),
        mask=torch.tensor([True, False]),
        parameter=torch.nn.Parameter(base.float()),
        empty=torch.zeros(0, 3),
    )
    path = tmp_path / "x.pth"
    torch.save(state, path, _use_new_zipfile_serialization=FORMATS[file_format])
    assert set(state) == set(open_entries(path))
    with open_checkpoint(path) as checkpoint:
        for name, values in state.items():
            read = checkpoint.read(name)
            assert read.shape == tuple(values.shape)
            exact = values.detach().double().numpy() if values.is_floating_point() else values.numpy()
            np.testing.assert_array_equal(read.astype(exact.dtype), exact)


def open_entries(path):
    with open_checkpoint(path) as checkpoint:
        return checkpoint.entries


def test_a_training_program_saves_more_than_the_network(torch, tmp_path):
    network, _ = trained(torch, "uniface")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.zeros(1, 3, 112, 112)).sum().backward()
    optimizer.step()
    state = {f"module.{name}": values for name, values in network.state_dict().items()}
    saved = {"epoch": 3, "accuracy": 0.5, "note": "x", "best": None, "lr": [0.1], "optimizer": optimizer.state_dict()}
    torch.save({**saved, "model": {"backbone": state}}, tmp_path / "x.pth")
    with open_network(tmp_path / "x.pth") as source:
        assert (source.preset.name, source.topology.pairs) == ("uniface", PAIRS)


def test_a_program_may_give_the_network_any_name(torch, tmp_path):
    """Where one dictionary alone holds tensors; of two, neither is assumed."""
    network, _ = trained(torch, "uniface")
    torch.save({"epoch": 3, "weights": network.state_dict()}, tmp_path / "x.pth")
    assert set(open_entries(tmp_path / "x.pth")) == set(network.state_dict())
    torch.save({"mine": network.state_dict(), "other": network.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds no tensors, but 'mine', 'other'.*save the parameters alone"):
        open_entries(tmp_path / "x.pth")


def test_a_whole_network_is_refused_by_name(torch, tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"torch\.nn\..*Sequential.*state_dict"):
        open_entries(tmp_path / "x.pth")


def test_twins_of_one_name_must_be_told_apart(torch, tmp_path):
    """The same file, two networks: nothing in it tells which, so neither is assumed."""
    network, _ = trained(torch, "sfnet")
    torch.save(network.state_dict(), tmp_path / "x.pth")
    with pytest.raises(TopologyError, match=r"before or after the activation.*config\.yml"):
        convert(tmp_path / "x.pth", tmp_path / "x.onnx")
    made = convert(
        tmp_path / "x.pth", tmp_path / "x.onnx", ConversionOptions(told=Told(preset="opensphere-deprecated"))
    )
    embedder = Embedder(made.model, provider="cpu")
    crops = random_crops(embedder)
    wrong = agreement(embed(torch, network, crops, "opensphere"), embedder.forward(crops))
    assert wrong.min_cosine < 0.99


def test_a_graph_alone_does_not_tell_its_crops(torch, tmp_path):
    network, _ = trained(torch, "uniface")
    to_onnx(torch, network, tmp_path / "x.onnx", (112, 112))
    with pytest.raises(TopologyError, match=r"112 x 112, and a graph does not tell their color order.*--preset"):
        convert(tmp_path / "x.onnx", tmp_path / "y.onnx")
    assert not (tmp_path / "y.onnx").exists()


def other_graphs(nn):
    """Graphs of other networks, by what the error says of them."""
    start = [nn.Conv2d(3, 4, 3, 2, 1), nn.PReLU(4)]
    stages = [layer for _ in range(3) for layer in (nn.Conv2d(4, 4, 3, 2, 1), nn.PReLU(4))]
    end = [nn.Flatten(), nn.Linear(4 * 7 * 7, 8)]
    return {
        "same activation": nn.Sequential(*start, nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), *stages[2:], *end),
        # ArcFace begins with a convolution of stride 1
        "another architecture.*strides \\[2, 2\\].* Its nodes: 1 Conv, ": nn.Sequential(
            nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.PReLU(4)
        ),
        "with pads \\[1, 1, 1, 1\\]": nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), nn.PReLU(4)),
        "found MaxPool": nn.Sequential(*start, nn.MaxPool2d(2)),
        "found Flatten": nn.Sequential(*start, nn.Flatten(), nn.Linear(4 * 56 * 56, 8)),
        "^Expected.*found Sigmoid": nn.Sequential(*start, *stages, *end, nn.Sigmoid()),
        "grouped": nn.Sequential(*start, nn.Conv2d(4, 4, 3, 2, 1, groups=2)),
    }


@pytest.mark.parametrize("place", range(7))
def test_graphs_of_other_networks(torch, tmp_path, place):
    words, network = list(other_graphs(torch.nn).items())[place]
    to_onnx(torch, network.eval(), tmp_path / "x.onnx", (112, 112))
    with pytest.raises(TopologyError, match=words), open_network(tmp_path / "x.onnx", Told(preset="uniface")):
        pass


@pytest.mark.slow
def test_full_width(torch, tmp_path):
    network, preset = trained(torch, "clcarwin", pairs=(1, 2, 4, 1), widths=(64, 128, 256, 512), size=512)
    torch.save(network.state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    made = convert(tmp_path / "x.pth", tmp_path / "x.onnx")
    assert made.topology.name == "SphereFace-20"
    assert_embeds_as(torch, made.model, network, preset)

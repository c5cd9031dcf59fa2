"""A network for crops of 112 x 112 in RGB: detected, aligned and embedded right, without a flag.

The network is built so that only the right preprocessing gives the right answer: its last bias takes away all but a
small part of what the right crop gives, so that any other crop gives another direction. The last component of the
embedding is constant and as large as what is taken away, since the proof of the conversion bounds errors by the largest
component. It is no part of the answer.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_sphereface.alignment import align_for
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path, check_on_device, load_certificate
from edge_sphereface.pipeline import FacePipeline
from export.convert import ConversionOptions, convert
from export.untrained import untrained_parameters

TEMPLATE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]]
)
SIZE = 16


def scikit_image_fit(source, target):
    """Umeyama's least squares from the photograph to the crop."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, v = np.linalg.svd(b.T @ a / len(a))
    d = np.array([1, np.sign(np.linalg.det(u @ v))])
    linear = (s * d).sum() / a.var(0).sum() * (u * d) @ v
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def matlab_fit(source, target):
    """Least squares from the crop to the photograph, inverted."""
    rows = [row for x, y in target for row in ([x, y, 1, 0], [y, -x, 0, 1])]
    r, q, tx, ty = np.linalg.lstsq(np.array(rows), source.reshape(-1), rcond=None)[0]
    return np.linalg.inv([[r, q, tx], [-q, r, ty], [0, 0, 1]])[:2]


def crop_of(image, landmarks, *, shift=8.0, fit=scikit_image_fit, width=112):
    crop = cv2.warpAffine(image, fit(landmarks.astype(np.float64), TEMPLATE + [shift, 0.0]), (width, 112))
    return cv2.resize(crop, (112, 112))


def features(parameters, crop, *, order="RGB", scale=127.5):
    """What the publisher's network computes before its last bias, in plain numpy."""
    x = ((crop[..., ::-1] if order == "RGB" else crop).astype(np.float64) - 127.5).transpose(2, 0, 1) / scale
    for stage in range(1, 5):
        weight, slope = parameters[f"conv{stage}_1.weight"], parameters[f"relu{stage}_1.w"][:, None, None]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        x = np.einsum("chwij,ocij->ohw", windows, weight) + parameters[f"conv{stage}_1.bias"][:, None, None]
        x = np.where(x > 0, x, slope * x)
    return parameters["fc5.weight"] @ x.reshape(-1)


def uniface_name(name):
    layer, _, kind = name.partition(".")
    if layer == "fc5":
        return f"fc.{kind}"
    return f"layer{layer[4]}.0.0.{kind}" if layer.startswith("conv") else f"layer{layer[4]}.0.1.weight"


@pytest.fixture(scope="module")
def detected(astronaut):
    """The detector, and the landmarks that it finds in the photograph."""
    detector = open_detector("mtcnn")
    return detector, detector.detect(astronaut)[0].landmarks


@pytest.fixture(scope="module")
def network(detected, astronaut):
    """Parameters of the network, and the direction (D,) that it gives for the right crop of the photograph."""
    made = untrained_parameters(depth=4, widths=(4, 4, 4, 8), embedding_size=SIZE, input_size=(112, 112), bias=True)
    made["fc5.weight"][-1] = 0
    right = features(made, crop_of(astronaut, detected[1]))
    answer = np.random.default_rng(5).normal(size=SIZE)
    size = np.linalg.norm(right)
    bias = 1e-3 * size * answer / np.linalg.norm(answer) - right
    bias[-1] = size
    made["fc5.bias"] = bias.astype(np.float32)
    return made, answer


def likeness(embedding, answer):
    """Cosine similarity without the constant component."""
    found, wanted = embedding[:-1], answer[:-1]
    return float(found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted))


@pytest.fixture(scope="module")
def square_model(network, tmp_path_factory, write_pth):
    folder = tmp_path_factory.mktemp("square")
    write_pth(folder / "sphere4.pth", {uniface_name(name): values for name, values in network[0].items()})
    options = ConversionOptions(reference="numpy", input_layout="image")
    return convert(folder / "sphere4.pth", folder / "square.onnx", options).model


def test_detect_align_embed_is_right_without_a_flag(square_model, network, detected, astronaut):
    face = FacePipeline(Embedder(square_model, provider="cpu"), detected[0]).process(astronaut)[0]
    assert likeness(face.embedding, network[1]) > 0.999


WRONG = {
    "BGR": ({}, {"order": "BGR"}),
    "scale": ({}, {"scale": 128.0}),
    "template not shifted": ({"shift": 0.0}, {}),
    "the other fit": ({"fit": matlab_fit}, {}),
    "96 wide": ({"shift": 0.0, "width": 96}, {}),
}


@pytest.mark.parametrize("convention", WRONG)
def test_any_wrong_convention_gives_another_answer(network, detected, astronaut, convention):
    """So the test above cannot pass by luck."""
    cut, read = WRONG[convention]
    parameters, answer = network
    found = features(parameters, crop_of(astronaut, detected[1], **cut), **read) + parameters["fc5.bias"]
    assert likeness(found, answer) < 0.9


@pytest.mark.parametrize(
    "wrong",
    [{"alignment_fit": "cp2tform"}, {"landmark_template": tuple(map(tuple, TEMPLATE))}],
    ids=["fit", "template"],
)
def test_the_specification_decides_on_the_crop(square_model, network, detected, astronaut, wrong, tmp_path):
    import onnx

    model = onnx.load(square_model)
    spec = replace(Embedder(square_model, provider="cpu").spec, **wrong)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"edge_sphereface.model_spec": spec.to_json()})
    onnx.save(model, tmp_path / "wrong.onnx")
    face = FacePipeline(Embedder(tmp_path / "wrong.onnx", provider="cpu"), detected[0]).process(astronaut)[0]
    assert likeness(face.embedding, network[1]) < 0.9


def test_a_gallery_refuses_the_other_network(square_model, small_model, photo, tmp_path, cli):
    gallery = tmp_path / "people.db"
    assert cli("enroll", "--gallery", gallery, "--model", square_model, "Eileen", photo)[0] == 0
    assert cli("identify", "--gallery", gallery, "--model", square_model, photo)[0] == 0
    code, _, errors = cli("identify", "--gallery", gallery, "--model", small_model, photo)
    assert code == 1
    for difference in (
        "network SphereFace-4 there, SphereFace-20 here",
        "crop width 112 there, 96 here",
        "color order in training RGB there, BGR here",
        "alignment (kind of fit) umeyama there, cp2tform here",
        "pixel scale 0.00784313725490196 there, 0.0078125 here",
    ):
        assert difference in errors
    assert "enroll from photographs again" in errors, "kept crops have another size"


def test_the_certificate_carries_the_conventions(square_model):
    certificate = load_certificate(certificate_path(square_model))
    assert (certificate.crops.height, certificate.crops.width, certificate.crops.color_order) == (112, 112, "BGR")
    assert certificate.crops.pixel_scale == 1 / 127.5
    np.testing.assert_allclose(certificate.crops.landmark_template, TEMPLATE + [8, 0])
    assert certificate.alignment.fit == "umeyama"
    assert check_on_device(Embedder(square_model, provider="cpu"), certificate).passed


def test_info_shows_how_crops_are_made(square_model, cli):
    code, shown, errors = cli("info", "--model", square_model)
    assert code == 0, errors
    assert "112 x 112" in shown
    assert "(pixel - 127.5) / 127.5" in shown
    assert "fit umeyama" in shown
    assert "(38.3, 51.7)" in shown


def test_align_cuts_crops_for_a_model(square_model, detected, astronaut, photo, cli, tmp_path):
    code, out, _ = cli("align", "--model", square_model, "--detector", "mtcnn", photo, "-o", tmp_path)
    assert (code, out.split()[0]) == (0, str(tmp_path / "astronaut.0.png"))
    spec = Embedder(square_model, provider="cpu").spec
    np.testing.assert_array_equal(cv2.imread(out.split()[0]), align_for(spec, astronaut, detected[1])[0])


def test_info_tells_what_was_folded(square_model, cli):
    code, out, _ = cli("info", square_model)
    lines = [line.partition(" ")[::2] for line in out.splitlines()]
    found = {name: words.strip() for name, words in lines if name}
    assert code == 0
    assert found["conventions"] == "of uniface; RGB crops in training; identity added after the activation"
    assert found["folded"] == "into the weights: color order (RGB to BGR)"

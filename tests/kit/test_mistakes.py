"""Each usual mistake is injected into a device's computation and must be named; nothing else may be accused."""

from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.kit.comparison import CheckOptions, check_outputs

PLANES = (0, 3, 1, 2)


def normalized(crops):
    return (crops.astype(np.float32) - 127.5) / 128


def turned(crops):
    """Crops of W rows and H pixels in memory, as `cv2.resize` gives them where its size is turned around."""
    import cv2

    count, height, width, _ = crops.shape
    wide = np.stack([cv2.resize(crop, (height, width)) for crop in crops])
    return np.ascontiguousarray(normalized(wide).transpose(PLANES)).reshape(count, 3, height, width)


def imagenet(crops):
    return (crops / 255 - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]


PREPARED = {
    "red-blue-swapped": lambda crops: normalized(crops[..., ::-1]).transpose(PLANES),
    "normalized-twice": lambda crops: ((normalized(crops) - 127.5) / 128).transpose(PLANES),
    "not-normalized": lambda crops: crops.transpose(PLANES),
    "zero-to-one": lambda crops: crops.transpose(PLANES) / 255,
    "mean-only": lambda crops: crops.transpose(PLANES) - 127.5,
    "scale-only": lambda crops: crops.transpose(PLANES) / 128,
    "imagenet-normalized": lambda crops: imagenet(crops).transpose(PLANES),
    "imagenet-normalized+red-blue-swapped": lambda crops: imagenet(crops)[..., ::-1].transpose(PLANES),
    "height-width-swapped": lambda crops: normalized(crops).transpose(0, 3, 2, 1).copy().reshape(
        len(crops), 3, *crops.shape[1:3]
    ),
    "height-width-swapped ": turned,
    "nhwc-as-nchw": lambda crops: normalized(crops).reshape(len(crops), 3, *crops.shape[1:3]),
    "nhwc-as-nchw ": lambda crops: normalized(crops.transpose(PLANES).reshape(crops.shape)).transpose(PLANES),
    "not-normalized+red-blue-swapped": lambda crops: crops[..., ::-1].transpose(PLANES),
    "zero-to-one+red-blue-swapped": lambda crops: crops[..., ::-1].transpose(PLANES) / 255,
}  # fmt: skip
"""Wrong preparations of crops (N, H, W, 3) uint8 BGR for the network, written apart from those of the exporter."""


@pytest.fixture(scope="session")
def mistaken(run, crops):
    """Raw outputs of the network under each mistake, by name."""
    return {name: run(prepare(crops)) for name, prepare in PREPARED.items()}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noisy(rows, share, seed=0):
    """Rows with noise of that share of their length, as a loss of precision adds."""
    noise = np.random.RandomState(seed).standard_normal(rows.shape)
    return (rows + share * np.linalg.norm(rows, axis=1, keepdims=True) * unit(noise)).astype(np.float32)


@pytest.mark.parametrize("name", PREPARED)
def test_each_wrong_preparation_is_named(kit, mistaken, name):
    check = check_outputs(kit, mistaken[name])
    assert not check.passed
    assert check.mistake is not None
    assert check.mistake.name == name.strip()
    assert check.mistake.alternatives == (("scaled",) if name == "mean-only" else ())
    assert check.mistake.agreement.min_cosine > 0.9999


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_they_are_named_in_less_precision_too(kit, mistaken, name, precision):
    share = {"float16": 1e-3, "int8": 0.1}[precision]
    check = check_outputs(kit, noisy(mistaken[name], share), CheckOptions(precision=precision))
    assert not check.passed
    assert check.mistake.name == name.strip()


@pytest.mark.parametrize("name", ["not-normalized", "mean-only", "scale-only", "imagenet-normalized"])
def test_a_quantized_input_cuts_off_what_is_too_large(kit, run, crops, name):
    """The device then computes something else than the network would for the same mistake."""
    batch = np.clip(PREPARED[name](crops).astype(np.float32), -127.5 / 128, 127.5 / 128)
    check = check_outputs(kit, noisy(run(batch), 0.05), CheckOptions(precision="int8"))
    assert not check.passed
    assert name in (check.mistake.name, *check.mistake.alternatives)


@pytest.mark.parametrize("name", PREPARED)
def test_lengths_are_needed_to_tell_some_apart(kit, mistaken, name):
    """Without biases the network scales with its input: what differs in scale alone is the same in direction."""
    check = check_outputs(kit, unit(mistaken[name]))
    if name == "mean-only":
        assert check.passed
        return
    assert not check.passed
    assert name.strip() in (check.mistake.name, *check.mistake.alternatives)
    related = {"not-normalized", "zero-to-one", "scale-only"}
    others = {check.mistake.name, *check.mistake.alternatives}
    assert others == {name.strip()} or {other.partition("+")[0] for other in others} <= related


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("precision", "share"), [("float32", 1e-6), ("float16", 2e-3), ("int8", 0.12), ("int8", 0.25)])
def test_a_loss_of_precision_is_not_accused(kit, outputs, precision, share, seed):
    for rows in (noisy(outputs, share, seed), unit(noisy(outputs, share, seed))):
        check = check_outputs(kit, rows.astype(np.float32), CheckOptions(precision=precision))
        assert check.mistake is None
        assert check.passed
        stricter = check_outputs(kit, noisy(outputs, share, seed), CheckOptions(precision="float32"))
        assert stricter.mistake is None
        assert stricter.passed == (precision == "float32")
        assert precision in stricter.keeps


def test_half_precision_and_shrunk_outputs_pass(kit, outputs):
    assert check_outputs(kit, outputs.astype(np.float16).astype(np.float32), CheckOptions(precision="float16")).passed
    shrunk = check_outputs(kit, noisy(0.9 * outputs, 0.05), CheckOptions(precision="int8"))
    assert shrunk.passed, shrunk


def test_a_loss_beyond_all_bounds_fits_no_mistake(kit, outputs):
    check = check_outputs(kit, noisy(outputs, 0.5), CheckOptions(precision="int8"))
    assert not check.passed
    assert check.mistake is None
    assert check.keeps == ()


def test_outputs_in_another_order(kit, outputs):
    order = np.roll(np.arange(len(outputs)), 3)
    check = check_outputs(kit, noisy(outputs[order], 0.01))
    assert check.mistake.name == "other-order"
    assert ", ".join(map(str, order)) in check.mistake.explanation
    swapped = np.arange(len(outputs))
    swapped[[0, 1]] = 1, 0
    assert check_outputs(kit, outputs[swapped]).mistake.name == "other-order"


def test_outputs_of_one_crop_and_of_some_crops(kit, outputs):
    repeated = np.repeat(outputs[2:3], len(outputs), axis=0)
    check = check_outputs(kit, repeated)
    assert check.mistake.name == "one-crop-repeated"
    assert "crop 2" in check.mistake.explanation
    halves = outputs[np.arange(len(outputs)) // 2]
    assert check_outputs(kit, halves).mistake.name == "outputs-of-other-crops"


def test_constant_zero_missing_and_infinite_outputs(kit, outputs):
    constant = np.repeat(np.random.RandomState(0).standard_normal((1, outputs.shape[1])), len(outputs), axis=0)
    assert check_outputs(kit, constant.astype(np.float32)).mistake.name == "constant-output"
    assert check_outputs(kit, np.zeros_like(outputs)).mistake.name == "all-zero"
    some = outputs.copy()
    some[[1, 4]] = 0
    missing = check_outputs(kit, some)
    assert missing.mistake.name == "missing-outputs"
    assert "1, 4" in missing.mistake.explanation
    assert missing.agreement is None
    some[1] = np.nan
    assert check_outputs(kit, some).mistake.name == "not-finite"


@pytest.mark.parametrize("which", ["first", "last", "zeroed"])
def test_half_of_the_embedding(kit, outputs, which):
    half = outputs.shape[1] // 2
    got = {"first": outputs[:, :half], "last": outputs[:, half:], "zeroed": outputs.copy()}[which]
    if which == "zeroed":
        got[:, half:] = 0
    check = check_outputs(kit, got)
    assert not check.passed
    assert check.mistake.name == "half-embedding"


def test_another_network(kit, outputs):
    random = np.random.RandomState(1).standard_normal(outputs.shape).astype(np.float32)
    found = check_outputs(kit, random).mistake
    assert found.name == "wrong-network"
    assert "or of crops that are not the kit's" in found.explanation, "crops upside down look the same"
    assert check_outputs(kit, random[:, :100]).mistake.name == "wrong-network"
    turned = outputs @ np.linalg.qr(np.random.RandomState(2).standard_normal((256, 256)))[0].astype(np.float32)
    assert check_outputs(kit, turned).mistake.name == "wrong-network"


def test_lengths(kit, outputs):
    ones = unit(outputs)
    assert check_outputs(kit, ones).passed
    assert check_outputs(kit, ones).unit_length
    assert check_outputs(kit, ones, CheckOptions(lengths="unit")).passed
    raw = check_outputs(kit, ones, CheckOptions(lengths="raw"))
    assert not raw.passed
    assert raw.mistake.name == "unit-length"
    long = check_outputs(kit, outputs, CheckOptions(lengths="unit"))
    assert not long.passed
    assert long.mistake.name == "not-unit-length"


def test_another_scale_is_named_with_its_factor(kit, outputs):
    check = check_outputs(kit, (outputs / 37).astype(np.float32))
    assert check.mistake.name == "scaled"
    assert "0.027027" in check.mistake.explanation
    as_127_5 = check_outputs(kit, (outputs * (128 / 127.5)).astype(np.float32))
    assert not as_127_5.passed
    assert "1.00392 times" in as_127_5.mistake.explanation


@pytest.mark.parametrize("factor", [1.7, 1.8, 2, 2.2, 2.5, 3, 100])
def test_no_factor_is_taken_for_a_mistake_of_preprocessing(kit, outputs, mistaken, factor):
    assert check_outputs(kit, (outputs * factor).astype(np.float32)).mistake.name == "scaled"
    swapped = (mistaken["red-blue-swapped"] * factor).astype(np.float32)
    assert check_outputs(kit, swapped).mistake.name == "red-blue-swapped+scaled"


def test_a_factor_that_the_mean_alone_would_give_is_named_beside_it(kit, outputs):
    found = check_outputs(kit, outputs * np.float32(128)).mistake
    assert {found.name, *found.alternatives} == {"mean-only", "scaled"}


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_wide_bounds_hide_no_factor(kit, outputs, factor):
    check = check_outputs(kit, noisy(factor * outputs, 0.1), CheckOptions(precision="int8"))
    assert "int8" in check.keeps or factor == 1.3
    assert not check.passed
    assert check.mistake.name == "scaled"


def test_codes_that_were_not_converted_to_floats_are_named(kit, outputs):
    codes = np.round(outputs / np.abs(outputs).max() * 127).astype(np.float32)
    assert check_outputs(kit, codes, CheckOptions(precision="int8")).mistake.name == "scaled"


def test_rounding_toward_zero_is_a_loss_of_precision(kit, outputs):
    """As bfloat16 does in some converters; all outputs shrink by a little."""
    cut = (outputs.view(np.uint32) & 0xFFFF0000).view(np.float32)
    check = check_outputs(kit, cut)
    assert check.mistake is None
    assert "float16" in check.keeps


@pytest.mark.parametrize("name", ["red-blue-swapped", "not-normalized", "imagenet-normalized"])
def test_a_mistake_in_another_order_is_named_with_it(kit, mistaken, name):
    order = np.roll(np.arange(len(mistaken[name])), 3)
    found = check_outputs(kit, noisy(mistaken[name][order], 0.01)).mistake
    assert found.name == f"{name}+other-order"
    assert ", ".join(map(str, order)) in found.explanation


@pytest.mark.parametrize("factor", [2, 128])
def test_a_factor_in_another_order_is_no_mistake_of_preprocessing(kit, outputs, factor):
    order = np.roll(np.arange(len(outputs)), 3)
    assert check_outputs(kit, outputs[order] * np.float32(factor)).mistake.name == "other-order"


def test_a_mistake_in_some_crops_names_those(kit, outputs, mistaken):
    some = outputs.copy()
    half = len(some) // 2
    some[:half] = mistaken["red-blue-swapped"][:half]
    found = check_outputs(kit, some).mistake
    assert found.name == "red-blue-swapped"
    assert f"in the crops {', '.join(map(str, range(half)))} only" in found.explanation


def test_text_of_a_kit_is_escaped(kit, mistaken):
    """It comes from others, and is shown on a terminal."""
    mistakes = tuple(
        replace(one, how="\x1b[2J" * 50) if one.names == ("red-blue-swapped",) else one for one in kit.manifest.mistakes
    )
    forged = replace(kit, manifest=replace(kit.manifest, mistakes=mistakes))
    check = check_outputs(forged, mistaken["red-blue-swapped"])
    assert check.mistake.explanation.isprintable()
    assert "\\x1b[2J" in check.mistake.explanation


def test_pairs_show_the_separation(kit, outputs, mistaken):
    check = check_outputs(kit, outputs, CheckOptions(pairs=True))
    assert check.pairs.measured == check.pairs.expected
    assert (check.pairs.expected.genuine_pairs, check.pairs.expected.impostor_pairs) == (3, 12)
    twice = check_outputs(kit, mistaken["normalized-twice"], CheckOptions(pairs=True))
    assert twice.pairs.measured.impostor_mean > 0.99
    assert twice.pairs.measured.accepted_impostor == 1

"""Embedding: any number of crops, unit rows, and no crop that was made for another network."""

import threading

import numpy as np
import pytest

from edge_sphereface.errors import CropError, EmbeddingError, ModelFormatError
from edge_sphereface.inference.embedder import Embedder, preprocess


@pytest.fixture(params=["nchw", "image"])
def embedder(request, small_models):
    return Embedder(small_models[request.param], batch_size=3)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_any_number_of_crops(embedder, crops, count):
    embeddings = embedder.embed(crops[:count])
    assert (embeddings.shape, embeddings.dtype) == ((count, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)


def test_batching_does_not_change_the_result(embedder, crops):
    one_by_one = np.concatenate([embedder.embed(crop[None]) for crop in crops])
    np.testing.assert_allclose(embedder.embed(crops), one_by_one, atol=2e-6)


def test_both_layouts_give_the_same(small_models, crops):
    by_layout = [Embedder(small_models[layout]).forward(crops) for layout in ("nchw", "image")]
    np.testing.assert_array_equal(*by_layout)


def test_preprocessing_is_the_originals(spec, crops):
    expected = ((crops.astype(np.float64) - 127.5) / 128).transpose(0, 3, 1, 2)
    batch = preprocess(crops, spec)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, expected)


def test_flip_is_the_mean_with_the_mirror_image(small_model, crops):
    plain, flipped = Embedder(small_model), Embedder(small_model, flip=True)
    expected = plain.forward(crops) + plain.forward(crops[:, :, ::-1])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(flipped.embed(crops), expected, atol=1e-6)
    np.testing.assert_allclose(flipped.embed(crops), flipped.embed(crops[:, :, ::-1]), atol=1e-6)


def test_crops_may_be_views(embedder, crops):
    np.testing.assert_allclose(embedder.embed(crops[::2]), embedder.embed(crops[::2].copy()), atol=1e-7)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((1, 96, 112, 3), np.uint8), "swapped"),
        (np.zeros((1, 112, 112, 3), np.uint8), "do not resize or pad"),
        (np.zeros((112, 96, 3), np.uint8), r"crop\[None\]"),
        (np.zeros((1, 3, 112, 96), np.uint8), "do not resize"),
        (np.zeros((1, 112, 96, 3), np.float32), "the model normalizes them"),
        (np.zeros((1, 112, 96), np.uint8), "align"),
        ([[1]], "edge_sphereface.align"),
    ],
)
def test_crops_for_another_network_are_refused(embedder, wrong, words):
    with pytest.raises(CropError, match=words):
        embedder.embed(wrong)


def test_nan_never_leaves(make_onnx, crops):
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "nan"], ["embedding"]),
    ]
    path = make_onnx(nodes=nodes, initializers=[numpy_helper.from_array(np.float32([np.nan]), "nan")])
    with pytest.raises(EmbeddingError, match="not finite"):
        Embedder(path).embed(crops)


def test_a_zero_embedding_is_refused(make_onnx, crops):
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["embedding"]),
    ]
    path = make_onnx(nodes=nodes, initializers=[numpy_helper.from_array(np.float32([0]), "zero")])
    with pytest.raises(EmbeddingError, match="length zero"):
        Embedder(path).embed(crops)


def test_model_without_our_metadata(make_onnx):
    with pytest.raises(ModelFormatError, match="no metadata"):
        Embedder(make_onnx(metadata={}))


def test_model_with_another_version_of_it(make_onnx):
    with pytest.raises(ModelFormatError, match="version 99"):
        Embedder(make_onnx(metadata={"edge_sphereface.model_spec": '{"schema_version": 99}'}))


@pytest.mark.parametrize(
    "changes", [{"input_height": 96, "input_width": 112}, {"embedding_size": 4}, {"input_layout": "image"}]
)
def test_graph_and_metadata_must_agree(make_onnx, changes, spec):
    if "embedding_size" in changes:
        path = make_onnx(metadata={"edge_sphereface.model_spec": spec.to_json()})
    else:
        path = make_onnx(changes=changes)
    with pytest.raises(ModelFormatError, match="does not match its specification"):
        Embedder(path)


def test_info_states_what_runs(small_model):
    info = Embedder(small_model, threads=1).info()
    assert info.provider.active == ("CPUExecutionProvider",)
    nodes = info.provider.nodes
    assert nodes is None or nodes["CPUExecutionProvider"] > 20, "None: onnxruntime before 1.24 does not tell"
    assert info.provider.threads == 1
    assert info.spec.architecture == "SphereFace-20"


def test_threads_may_share_an_embedder(small_model, crops):
    embedder = Embedder(small_model)
    expected = embedder.embed(crops)
    results = [None] * 8

    def work(number):
        results[number] = embedder.embed(crops)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_batch_size_must_be_positive(small_model):
    with pytest.raises(ValueError, match="at least 1"):
        Embedder(small_model, batch_size=0)

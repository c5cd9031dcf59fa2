"""Figures that others published, with their sources and with what is doubtful about them.

None was measured by this project. ``confirmed`` names the stored copy of the source in which the figure was read on 27
November 2026; a row without it repeats what is reported of the source.
"""

from __future__ import annotations

from benchmarks.ascend.row import FULL_WIDTH, PUBLISHED, LedgerRow, PartialLatency

_MODELS = "README of mindspore-ai/models, research/cv/sphereface"
_MODELS_COPY = "mindspore-ai/models, commit 43b9960a493d"
_ZOO = "opencv_zoo, benchmark/README.md"
_ZOO_COPY = "opencv/opencv_zoo, a version of 2023 or later"
_ZOO_ACCURACY = "opencv_zoo, models/face_recognition_sface/README.md"
_ZOO_DOUBT = "preprocessing and postprocessing are included, and the input is a picture of 150 x 150"
_CAFFE = "Ascend/ModelZoo-TensorFlow, contrib/cv/sphereface/ATC_sphereface_caffe_AE/README.MD"
_CAFFE_COPY = "Ascend/ModelZoo-TensorFlow, commit 20e26b436717"
_CAFFE_DOUBTS = (
    "the page says batch 8, its atc command sets no batch, and the prototxt says 1",
    "the precision of the computation is not stated; atc computes in float16 unless told otherwise",
    "AIPP normalizes on the device; loop of 100 on one input",
)
_ARCFACE = "Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/classfication/LResNet100E-IR/README.md"
_RESNET = "Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/classfication/ResNet18/README.md"
_RESNET_P3 = "Ascend/ModelZoo-PyTorch, ACL_PyTorch/built-in/cv/Resnet18_for_PyTorch/README.md"
_NCNN = "Tencent/ncnn, benchmark/README.md"
_RESNET_DOUBT = "an ImageNet classifier of 224 x 224: of similar depth, not a face network"
_NCNN_DOUBTS = (_RESNET_DOUBT, "benchncnn fills the weights with random numbers")


def _sface(
    path: str, device: str, mean_ms: float, median_ms: float, min_ms: float, *, precision: str | None = "float32"
) -> LedgerRow:
    """A row of opencv_zoo's benchmark of SFace."""
    return LedgerRow(
        path=f"{path}, with pre- and postprocessing",
        network="SFace",
        device=device,
        precision=precision,
        batch=1,
        includes="whole call",
        latency=PartialLatency(mean_ms=mean_ms, median_ms=median_ms, min_ms=min_ms),
        accuracy=0.994,
        accuracy_source=_ZOO_ACCURACY,
        origin=PUBLISHED,
        source=_ZOO,
        confirmed=_ZOO_COPY,
        doubts=(_ZOO_DOUBT, *(["the precision on the device is not stated"] if precision is None else [])),
    )


def _ncnn(device: str, mean_ms: float, *, threads: int, confirmed: str | None) -> LedgerRow:
    """A row of ncnn's benchmark of ResNet-18."""
    return LedgerRow(
        path="ncnn",
        network="ResNet-18",
        device=f"{device}, {threads} thread{'s' if threads > 1 else ''}",
        precision="float32",
        batch=1,
        includes="whole call",
        latency=PartialLatency(mean_ms=mean_ms),
        origin=PUBLISHED,
        source=_NCNN,
        confirmed=confirmed,
        doubts=_NCNN_DOUBTS,
    )


_PI4 = "Tencent/ncnn, a version of 2022 or later (Raspberry Pi 4 Model B at 1.8 GHz)"

ROWS = (
    LedgerRow(
        path="official checkpoint, file name and MindSpore Hub",
        network=FULL_WIDTH,
        accuracy=0.9848,
        origin=PUBLISHED,
        source="MindSpore Hub",
    ),
    LedgerRow(
        path="MindSpore on Ascend 910",
        network=FULL_WIDTH,
        accuracy=0.9923,
        threshold=0.305,
        origin=PUBLISHED,
        source=_MODELS,
        confirmed=_MODELS_COPY,
    ),
    LedgerRow(
        path="MindSpore on Ascend 910, 8 devices",
        network=FULL_WIDTH,
        accuracy=0.9928,
        threshold=0.294,
        origin=PUBLISHED,
        source=_MODELS,
        confirmed=_MODELS_COPY,
    ),
    LedgerRow(
        path="MindSpore on GPU",
        network=FULL_WIDTH,
        accuracy=0.9913,
        threshold=0.284,
        origin=PUBLISHED,
        source=_MODELS,
        confirmed=_MODELS_COPY,
    ),
    LedgerRow(
        path="MindSpore on GPU, 8 devices",
        network=FULL_WIDTH,
        accuracy=0.9918,
        threshold=0.28,
        origin=PUBLISHED,
        source=_MODELS,
        confirmed=_MODELS_COPY,
    ),
    LedgerRow(
        path="inference on Ascend 310",
        network=FULL_WIDTH,
        accuracy=0.9922,
        threshold=0.28,
        origin=PUBLISHED,
        source=_MODELS,
        confirmed=_MODELS_COPY,
        doubts=("no time is published beside it",),
    ),
    LedgerRow(
        path="Caffe's network as .om, msame",
        network=FULL_WIDTH,
        device="Ascend 310",
        includes="compute",
        latency=PartialLatency(samples=100, mean_ms=7.687),
        accuracy=0.993,
        accuracy_source="wy1iu/sphereface, README.md (the released model)",
        origin=PUBLISHED,
        source=_CAFFE,
        confirmed=_CAFFE_COPY,
        doubts=_CAFFE_DOUBTS,
    ),
    _sface("OpenCV CANN", "Atlas 200 DK, Ascend 310", 2.66, 2.66, 2.64, precision=None),
    _sface("OpenCV on the CPU", "Atlas 200 DK, 8 Cortex-A55", 92.21, 92.11, 91.87),
    _sface("OpenCV on the CPU", "Atlas 200I DK A2, 4 cores at 1 GHz", 78.90, 81.48, 74.18),
    _sface("OpenCV CUDA", "Jetson Orin Nano", 7.59, 7.62, 7.55),
    _sface("OpenCV CUDA FP16", "Jetson Orin Nano", 5.09, 5.08, 5.05, precision="float16"),
    _ncnn("Raspberry Pi 4", 191.10, threads=1, confirmed=_PI4),
    _ncnn("Raspberry Pi 4", 123.12, threads=4, confirmed=_PI4),
    _ncnn("Raspberry Pi 5", 29.7, threads=1, confirmed=None),
    _ncnn("Raspberry Pi 5", 20.0, threads=4, confirmed=None),
    LedgerRow(
        path="benchmark (Huawei's older tool)",
        network="ResNet-18",
        device="Ascend 310, one of the four chips of a card",
        batch=1,
        includes="compute",
        faces_per_second=787.709,
        origin=PUBLISHED,
        source=_RESNET,
        confirmed="Ascend/ModelZoo-PyTorch, commit 053601716990",
        doubts=(_RESNET_DOUBT, "the page multiplies it by four for the card"),
    ),
    LedgerRow(
        path="ais_bench",
        network="ResNet-18",
        device="Ascend 310P3",
        batch=1,
        includes="compute",
        faces_per_second=2864.96,
        origin=PUBLISHED,
        source=_RESNET_P3,
        confirmed="Ascend/ModelZoo-PyTorch, commit 3c2cbb83c5c1",
        doubts=(_RESNET_DOUBT, "its command gives no input, which ais_bench replaces by zeros"),
    ),
    LedgerRow(
        path="ais_bench",
        network="ArcFace IR-SE100",
        device="Ascend 310P3",
        batch=1,
        includes="compute",
        faces_per_second=566.0,
        accuracy=0.9976,
        origin=PUBLISHED,
        source=_ARCFACE,
        confirmed="Ascend/ModelZoo-PyTorch, commit 91fbedba0899",
        doubts=("a network of 100 layers; its command gives no input, which ais_bench replaces by zeros",),
    ),
)
"""The published rows."""

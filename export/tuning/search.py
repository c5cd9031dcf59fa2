"""Select how each stage is computed. Stages are measured one by one, since their times add up."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edge_sphereface.evaluation.timing import Deadline, measure_interleaved
from edge_sphereface.inference.session import MemoryModel, open_session
from export.graph import BATCH
from export.rewrite import to_winograd
from export.rewrite.tile import StageForm, Tile
from export.rewrite.weights import read_weights
from export.topology import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import onnx

    from edge_sphereface.evaluation.model_selection import Setting
    from export.quantization.search import Reporter

    StageTimes = dict[int, dict[StageForm, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Forms of a stage to try, beside direct convolutions.

    Attributes:
        ways: ways to compute the first of ``sizes``, as at the end of a tile's name. The fastest one is tried with the
            other sizes, and the second one with the sizes that are then the fastest.
        sizes: sizes of the tiles of the residual layers.
        first: sizes of the tiles of the first layer, tried with the fastest form of the residual layers.
    """

    ways: tuple[str, ...] = ("", "s", "p", "ps", "w")
    sizes: tuple[str, ...] = ("4x4", "2x2", "2x3", "3x3", "3x4", "4x3", "4x6", "7x3", "7x6")
    first: tuple[str, ...] = ("3x3", "4x3", "4x4", "4x6", "7x3")

    def groups(self, times: Mapping[StageForm, float], *, with_first: bool = True) -> Iterator[list[StageForm]]:
        """Yield groups of forms to measure, each chosen by the times of those before.

        Args:
            times: median of each form that was measured until then.
            with_first: whether the first layer is tried in tiles.
        """
        yield [StageForm(), *(StageForm.parse(f"{self.sizes[0]}{way}") for way in self.ways)]
        way, *others = sorted(self.ways, key=lambda way: times[StageForm.parse(f"{self.sizes[0]}{way}")])
        yield [StageForm.parse(f"{size}{way}") for size in self.sizes[1:]]
        sizes = sorted(self.sizes, key=lambda size: times[StageForm.parse(f"{size}{way}")])[:_SIZES]
        again = (StageForm.parse(f"{size}{other}") for size in sizes for other in others[:1])
        yield [form for form in again if form not in times]
        best = min(times, key=times.__getitem__)
        if with_first and best.rest is not None:
            tiles = (Tile.parse(size) for size in self.first)
            yield [replace(best, first=replace(best.rest, rows=tile.rows, columns=tile.columns)) for tile in tiles]


CANDIDATES = Candidates()
_SIZES = 3
"""Number of sizes that the second way is tried with."""
_KEPT = 3
"""Number of forms of each stage that combinations are made of."""
_FIRST_SAMPLES, _FIRST_WARMUP = 5, 2
"""Samples of a form when it is tried, before only the fastest forms are compared."""
_COMPARED = 5
"""Number of forms of a stage that are compared in turn, and that are in memory at a time."""


def measure_stages(
    plain: onnx.ModelProto,
    setting: Setting,
    *,
    batch: int,
    rounds: int,
    reporter: Reporter,
    candidates: Candidates | None = None,
    deadline: Deadline | None = None,
) -> StageTimes:
    """Measure the median time of each stage in milliseconds, by form.

    A form is timed a few times by itself. The fastest ones are then compared in turn, with more samples.

    Args:
        plain: plain float model.
        setting: session setting.
        batch: number of faces in one inference.
        rounds: number of samples of each of the fastest forms.
        reporter: returns a progress function for a named step.
        candidates: forms to try; None for :data:`CANDIDATES`.
        deadline: time limit, of which each stage may take an equal share. After it, no more forms of a stage are tried;
            direct convolutions always are. None for no limit.
    """
    made: StageTimes = {}
    stages, limit = list(_stages(plain)), deadline or Deadline()
    for left, (number, stage) in zip(range(len(stages), 0, -1), stages, strict=True):
        times = made[number] = {}
        fastest: dict[StageForm, Callable[[], object]] = {}
        until = limit.share(1 / left)
        # The first layer of the network has 3 channels, too few for rows of channels.
        for group in filter(None, (candidates or CANDIDATES).groups(times, with_first=number > 1)):
            progress = reporter(f"stage {number}, forms: {len(group)}, {setting}")
            for done, form in enumerate(group, start=1):
                run = _inference(stage, number, form, setting, batch)
                times[form] = _medians({form: run}, _FIRST_SAMPLES, _FIRST_WARMUP)[form]
                fastest[form] = run
                fastest = {form: fastest[form] for form in sorted(fastest, key=times.__getitem__)[:_COMPARED]}
                progress(done, len(group))
                if until.passed:
                    break
            if until.passed:
                break
        times |= _medians(fastest, rounds, _FIRST_WARMUP)
    return made


def combinations(
    times: StageTimes, growth: Callable[[Mapping[int, StageForm]], float], *, max_growth: float, count: int
) -> list[dict[int, StageForm]]:
    """Return the combinations of forms that are expected to be fastest, best first.

    Args:
        times: result of :func:`measure_stages`.
        growth: size of a network's weights divided by that of the plain network, as a function of its forms.
        max_growth: largest growth allowed.
        count: number of combinations to return.
    """
    stages = list(times)
    ways = [sorted(times[stage], key=times[stage].__getitem__) for stage in stages]
    kept = [[way for way in ordered if way == StageForm() or way in ordered[:_KEPT]] for ordered in ways]
    chosen = product(*kept)
    ranked = sorted(chosen, key=lambda forms: sum(times[s][form] for s, form in zip(stages, forms, strict=True)))
    named = ({s: form for s, form in zip(stages, forms, strict=True) if form != StageForm()} for forms in ranked)
    return list(islice((forms for forms in named if growth(forms) <= max_growth), count))


def _stages(plain: onnx.ModelProto) -> Iterator[tuple[int, onnx.ModelProto]]:
    """Yield each stage that has residual layers as a separate model."""
    inferred = shape_inference.infer_shapes(plain)
    values = [*inferred.graph.value_info, *inferred.graph.input]
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    weights = read_weights(plain)
    for number in range(1, STAGES + 1):
        nodes = [node for node in plain.graph.node if re.match(rf"(conv|relu|add){number}_", node.name)]
        if all(re.search(r"_1$", node.name) for node in nodes):
            continue
        ends = []
        for name in (nodes[0].input[0], nodes[-1].output[0]):
            shape = [BATCH, *(dimension.dim_value for dimension in shapes[name][1:])]
            ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        read = dict.fromkeys(name for node in nodes for name in node.input if name in weights)
        tensors = [numpy_helper.from_array(weights[name], name) for name in read]
        graph = helper.make_graph(nodes, f"stage {number}", ends[:1], ends[1:], tensors)
        yield number, helper.make_model(graph, opset_imports=list(plain.opset_import), ir_version=plain.ir_version)


def _inference(
    stage: onnx.ModelProto, number: int, form: StageForm, setting: Setting, batch: int
) -> Callable[[], object]:
    """Load a form of a stage, and return its inference of random activations."""
    name = stage.graph.input[0].name
    shape = [dimension.dim_value for dimension in stage.graph.input[0].type.tensor_type.shape.dim[1:]]
    inputs = {name: np.random.RandomState(0).standard_normal((batch, *shape)).astype(np.float32)}
    made = to_winograd(stage, {number: form}, check=False)
    model = MemoryModel(name=f"stage {number}", content=made.SerializeToString())
    session, _ = open_session(model, setting.config("cpu"))
    return partial(session.run, None, inputs)


def _medians(forms: Mapping[StageForm, Callable[[], object]], rounds: int, warmup: int) -> dict[StageForm, float]:
    samples = measure_interleaved({str(form): run for form, run in forms.items()}, rounds=rounds, warmup=warmup)
    return {form: float(np.median(samples[str(form)])) for form in forms}

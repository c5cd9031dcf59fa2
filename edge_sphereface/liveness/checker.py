"""Decides whether faces are live, by one or several liveness models."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import ModelError, ModelFormatError, ProviderError
from edge_sphereface.inference.session import open_session, session_config
from edge_sphereface.liveness.calibration import find_calibration
from edge_sphereface.liveness.crop import MIN_FACE_PX, crop_around, is_checkable
from edge_sphereface.liveness.result import DEFAULT_THRESHOLD, Liveness
from edge_sphereface.liveness.spec import HINT, REMEDY, LivenessSpec

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from edge_sphereface.inference.session import ProviderReport, SessionConfig
    from edge_sphereface.liveness.result import ThresholdSource
    from edge_sphereface.types import Face, Float32Array, UInt8Array


class LivenessChecker:
    """Liveness models on onnxruntime. Safe to use from several threads.

    The probabilities of several models are averaged, as their publisher does with two models of different crops.

    Attributes:
        threshold: mean probability from which a face counts as live.
        threshold_source: where it comes from: ``given``, ``calibrated`` or ``default``.

    Args:
        models: paths of ONNX files made by ``python -m export liveness``; at least one.
        threshold: mean probability from which a face counts as live; None for the one that was calibrated for exactly
            these models (:class:`~edge_sphereface.liveness.LivenessCalibration`), or 0.5 if none was.
        provider: execution provider; None for the one in ``session``.
        threads: threads of one inference; None for the number in ``session``.
        session: options of the sessions.

    Raises:
        ModelNotFoundError: a file does not exist.
        ModelFormatError: a file is not a liveness model.
        ThresholdError: the calibration beside a model is damaged, or is of other models.
        ProviderError: the execution provider is absent, or does not run a model.
        ValueError: no model, or a threshold outside 0 to 1.
    """

    def __init__(
        self,
        models: Sequence[str | os.PathLike[str]],
        *,
        threshold: float | None = None,
        provider: str | None = None,
        threads: int | None = None,
        session: SessionConfig | None = None,
    ) -> None:
        if not models:
            raise ValueError("Expected at least one liveness model, got none.")
        config = session_config(session, provider=provider, threads=threads)
        self._models = [_Model(Path(model), config) for model in models]
        self.threshold, self.threshold_source = self._threshold(threshold)

    def __repr__(self) -> str:
        names = ", ".join(model.path.name for model in self._models)
        return f"<LivenessChecker {names}: threshold {self.threshold:g}, {self.providers[0].active[0]}>"

    def at(self, threshold: float | None) -> LivenessChecker:
        """A checker with another threshold that shares the opened models.

        Args:
            threshold: as for a new checker.

        Raises:
            ThresholdError: the calibration beside a model is damaged, or is of other models.
            ValueError: a threshold outside 0 to 1.
        """
        other = copy(self)
        other.threshold, other.threshold_source = self._threshold(threshold)
        return other

    @property
    def specs(self) -> tuple[LivenessSpec, ...]:
        """Specifications of the models."""
        return tuple(model.spec for model in self._models)

    @property
    def providers(self) -> tuple[ProviderReport, ...]:
        """What the models run on."""
        return tuple(model.provider for model in self._models)

    def check(self, image: UInt8Array, faces: Sequence[Face]) -> list[Liveness]:
        """Check faces of an image, in one batch per model.

        Args:
            image: (H, W, 3) uint8 BGR, as the camera delivered it: a photograph that was resized, compressed again or
                cropped has lost what the networks look at.
            faces: faces in pixels of the image.

        Returns:
            One result per face, in order.
        """
        checked = [index for index, face in enumerate(faces) if is_checkable(image, face.box)]
        too_small = Liveness(state="not_checked", reason=f"smaller than {MIN_FACE_PX} pixels, or outside the image")
        results = [too_small] * len(faces)
        if checked:
            boxes = [faces[index].box for index in checked]
            scores = np.mean([model.live_scores(image, boxes) for model in self._models], axis=0)
            for index, score in zip(checked, scores.tolist(), strict=True):
                results[index] = Liveness(state="live" if score >= self.threshold else "spoof", score=score)
        return results

    def _threshold(self, given: float | None) -> tuple[float, ThresholdSource]:
        if given is not None:
            if not 0 <= given <= 1:
                raise ValueError(f"Expected a threshold of 0 to 1, got {given}.")
            return given, "given"
        calibration = find_calibration([model.path for model in self._models])
        return (DEFAULT_THRESHOLD, "default") if calibration is None else (calibration.threshold, "calibrated")


class _Model:
    """One network."""

    def __init__(self, path: Path, config: SessionConfig) -> None:
        self.path = path
        self._session: Any
        self._session, self.provider = _open(path, config)
        self.spec = LivenessSpec.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        side = self.spec.side
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or inputs[0].type != "tensor(uint8)"
            or inputs[0].shape[1:] != [side, side, 3]
            or outputs[0].shape[1:] != [self.spec.classes]
        ):
            found = [(value.name, value.type, value.shape) for value in (*inputs, *outputs)]
            raise ModelFormatError(
                f"The graph of {path.name} does not match its specification: expected one input of uint8 (N, {side}, "
                f"{side}, 3) and one output (N, {self.spec.classes}), got {found}.",
                hint=HINT,
                remedy=REMEDY,
            )
        self._input_name: str = inputs[0].name

    def live_scores(self, image: UInt8Array, boxes: Sequence[Float32Array]) -> Float32Array:
        """Probabilities (N,) of the class of live faces."""
        spec = self.spec
        crops = np.stack([crop_around(image, box, scale=spec.crop_scale, side=spec.side) for box in boxes])
        try:
            (probabilities,) = self._session.run(None, {self._input_name: crops})
        except Exception as error:
            # onnxruntime's exceptions share no base class of their own.
            raise ProviderError(f"{self.provider.active[0]} failed on {self.path.name}: {error}") from error
        scores: Float32Array = probabilities[:, spec.live_class]
        if not np.isfinite(scores).all():
            raise ProviderError(f"{self.path.name} computed values that are not finite.", hint="check the provider")
        return scores


def _open(path: Path, config: SessionConfig) -> tuple[Any, ProviderReport]:
    try:
        return open_session(path, config)
    except ModelError as error:
        if error.remedy is None:
            raise
        # What open_session recommends makes a recognition model.
        raise type(error)(error.message, hint=HINT, remedy=REMEDY) from error

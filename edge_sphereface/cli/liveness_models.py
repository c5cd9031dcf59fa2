"""Opens the liveness models that options and tables of cameras name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import named_gallery, session_config
from edge_sphereface.cli.runner import UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from edge_sphereface.liveness import LivenessChecker


class LivenessModels:
    """Opens each choice of models and threshold once, so that cameras and pictures share it.

    Cameras with equal settings then have the same checker, and reading unchanged settings again changes no camera.
    """

    def __init__(self) -> None:
        self._opened: dict[tuple[tuple[Path, ...], float | None], LivenessChecker] = {}

    def of_names(self, arguments: argparse.Namespace) -> LivenessChecker | None:
        """The models that withhold names, if any were named.

        Raises:
            UsageError: there is no gallery, and so no name to withhold.
            ModelError: a file is no liveness model.
            ThresholdError: a stored calibration is damaged, or is of other models.
        """
        if arguments.liveness and named_gallery(arguments) is None:
            raise UsageError("--liveness withholds names, and there is no gallery that has any.", hint="add --gallery")
        return self.of(arguments)

    def of(self, arguments: argparse.Namespace) -> LivenessChecker | None:
        """The models, if any were named.

        Raises:
            ModelError: a file is no liveness model.
            ThresholdError: a stored calibration is damaged, or is of other models.
        """
        from edge_sphereface.liveness import LivenessChecker

        models, threshold = tuple(arguments.liveness), arguments.liveness_threshold
        if not models:
            return None
        if (models, threshold) not in self._opened:
            same = next((one for (files, _), one in self._opened.items() if files == models), None)
            self._opened[models, threshold] = (
                LivenessChecker(models, threshold=threshold, session=session_config(arguments))
                if same is None
                else same.at(threshold)
            )
        return self._opened[models, threshold]


def require_liveness_model(arguments: argparse.Namespace) -> None:
    """Refuse a threshold of no model: it would check nothing.

    Raises:
        UsageError: a threshold was given without a model.
    """
    if arguments.liveness_threshold is not None and not arguments.liveness:
        raise UsageError("A liveness threshold needs the model that it is for.", hint="give --liveness FILE.onnx")

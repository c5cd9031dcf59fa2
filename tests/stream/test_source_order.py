"""Changes of a source in the order in which they happened, relative to frames."""

import numpy as np
import pytest

from edge_sphereface.stream import FaceStream, StreamSettings
from edge_sphereface.stream.capture.reader import SourceChange
from edge_sphereface.stream.face_stream import _around_frame

UP, DOWN = SourceChange(up=True, width=8, height=8), SourceChange(up=False, reason="it ended")


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ([], 0, 0),
        ([UP], 1, 0),
        ([DOWN], 0, 1),
        ([UP, DOWN], 1, 1),
        ([DOWN, UP], 2, 0),
        ([UP, DOWN, UP, DOWN], 3, 1),
    ],
)
def test_a_source_that_ended_had_its_last_frame_first(changes, before, after):
    earlier, later = _around_frame(changes, has_frame=True)
    assert (len(earlier), len(later)) == (before, after)
    assert [*earlier, *later] == changes
    assert _around_frame(changes, has_frame=False) == (changes, ())


def test_every_frame_of_a_list_is_processed():
    """As of a recording: a list does not lose frames because it is read faster than they are processed."""

    class Nobody:
        name = "nobody"

        def detect(self, image):
            return []

        def improve(self, image, face):
            return face

    frames = [np.zeros((48, 64, 3), np.uint8)] * 30
    statistics = FaceStream(frames, detector=Nobody(), settings=StreamSettings(pace=False)).run()
    assert (statistics.frames, statistics.dropped) == (30, 0)

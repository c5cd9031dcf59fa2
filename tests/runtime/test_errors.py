"""The error tree is what its docstring draws."""

import inspect
import re

import pytest

from edge_sphereface import errors
from edge_sphereface.errors import EdgeSphereFaceError

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, EdgeSphereFaceError)]


def test_the_tree_is_drawn_whole():
    drawn = re.findall(r"\w+Error\b", errors.__doc__.split("A message")[0])
    named = {name for name in drawn if hasattr(errors, name)}
    assert named == {kind.__name__ for kind in CLASSES} == set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_is_told_by_code_and_builtin(kind):
    error = kind("what came", hint="what to do")
    assert str(error) == "what came (what to do)"
    assert str(kind("what came")) == "what came"
    assert [other for other in CLASSES if other.code == kind.code] == [kind]
    if kind.__name__ not in ("EdgeSphereFaceError", "ModelError", "GalleryError"):
        builtin = re.search(rf"{kind.__name__}\s+\(also (\w+)\)", errors.__doc__)
        parent = kind.__mro__[1]
        assert issubclass(kind, eval(builtin[1])) if builtin else parent is errors.DownloadError

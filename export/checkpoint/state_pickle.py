"""Read the pickles of PyTorch's files without executing them.

A pickle is a program, and Python's own reader calls whatever function it names. This interpreter knows the opcodes and
the few names that dictionaries of tensors need, makes plain values of its own of them, and refuses every other name.
Tensors are described, not loaded.

References:
    CPython, Lib/pickletools.py; PyTorch, torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_sphereface.storage.bounded_json import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

MAX_OPCODES = 200_000
"""Limit of a pickle's length, and so of the memory of its values. A network with its optimizer has about 20,000."""

_STORAGES = {
    "FloatStorage": "Float32",
    "DoubleStorage": "Float64",
    "HalfStorage": "Float16",
    "BFloat16Storage": "BFloat16",
    "LongStorage": "Int64",
    "IntStorage": "Int32",
    "ShortStorage": "Int16",
    "CharStorage": "Int8",
    "ByteStorage": "UInt8",
    "BoolStorage": "Bool",
}
_STORAGE_MODULES = ("torch", "torch.cuda")
_NEWER_TYPES = (("torch._utils", "_rebuild_tensor_v3"), ("torch.storage", "UntypedStorage"))
"""What tensors need whose types have no storage of their own, such as float8 and uint16."""
_TYPE_HINT = (
    "the type of a tensor is not converted, such as float8 or complex numbers; save floats: "
    "{name: tensor.float() for name, tensor in state_dict.items()}"
)
_MAX_TEXT = 1 << 16
_MAX_NAME = 200
_PROTOCOL = 2


class PickleError(ValueError):
    """A pickle is damaged, or has an opcode that is not supported.

    Attributes:
        hint: what to do; empty where the file is damaged.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ForeignNameError(PickleError):
    """A pickle names a class or function that is not needed for tensors.

    Attributes:
        name: the name, with its module, as a message may show it.
    """

    def __init__(self, name: str, *, hint: str = "") -> None:
        self.name = shown(name)
        super().__init__(f"it names {self.name}", hint=hint)


class Storage(NamedTuple):
    """An array in the file that one or several tensors are views of.

    Attributes:
        dtype: type of the values, see :data:`export.checkpoint.entry.DTYPES`.
        key: name of the storage in the file.
        length: number of values.
        first: index of the first value of this view of the storage.
    """

    dtype: str
    key: str
    length: int
    first: int = 0


class StoredTensor(NamedTuple):
    """A tensor as a view of a storage. Nothing of it is checked.

    Attributes:
        storage: where the values are.
        offset: index of the first value.
        shape: dimensions.
        strides: distances of neighbors along each dimension, in values.
    """

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


class _StorageType(NamedTuple):
    dtype: str


class _Function(NamedTuple):
    call: Callable[..., Any]


class _Mark:
    """Start of a group of values on the stack."""


_MARK = _Mark()


class Pickle(NamedTuple):
    """What a pickle holds.

    Attributes:
        value: its value, of dictionaries, lists, tuples, texts, numbers and :class:`StoredTensor`.
        end: offset after the pickle.
        storages: type of the values of each storage that it names, by key.
    """

    value: Any
    end: int
    storages: dict[str, str]


def read_pickle(data: bytes | mmap, start: int, end: int) -> Pickle:
    """Read one pickle of protocol 2.

    Args:
        data: bytes of the file.
        start: offset of the pickle.
        end: offset that it must not pass.

    Raises:
        ForeignNameError: it names a class or function that is not needed for tensors.
        PickleError: it is damaged, too long, or has an opcode that is not supported.
    """
    return _Machine(data, start, end).run()


class _Machine:
    """Stack and memory of the interpreter."""

    def __init__(self, data: bytes | mmap, start: int, end: int) -> None:
        self._data, self._position, self._end = data, start, end
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._storages: dict[str, str] = {}

    def run(self) -> Pickle:
        for _ in range(MAX_OPCODES):
            opcode = self._take(1)
            if opcode == b".":
                return Pickle(self._pop(), self._position, self._storages)
            action = _ACTIONS.get(opcode)
            if action is None:
                raise PickleError(f"the opcode {opcode!r} before byte {self._position} is not supported")
            action(self)
        raise PickleError(f"it has more than {MAX_OPCODES} opcodes")

    def _take(self, count: int) -> bytes:
        if count > self._end - self._position:
            raise PickleError(f"it ends at byte {self._end}, inside a value")
        self._position += count
        return bytes(self._data[self._position - count : self._position])

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleError(f"a value is missing before byte {self._position}")
        return self._stack.pop()

    def _group(self) -> list[Any]:
        """Take the values after the last mark, and the mark."""
        group: list[Any] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return group[::-1]
            group.append(value)
        raise PickleError(f"a mark is missing before byte {self._position}")

    def protocol(self) -> None:
        version = self._take(1)[0]
        if version != _PROTOCOL:
            raise PickleError(
                f"it has pickle protocol {version}, not {_PROTOCOL}",
                hint="save it without naming a protocol: torch.save(state_dict, FILE)",
            )

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_number(self, layout: str) -> None:
        self.push(self._number(layout))

    def push_long(self) -> None:
        self.push(int.from_bytes(self._take(self._number("B")), "little", signed=True))

    def push_text(self, layout: str) -> None:
        length = self._number(layout)
        if not 0 <= length <= _MAX_TEXT:
            raise PickleError(f"a text of {length} bytes is announced before byte {self._position}")
        self.push(_decoded(self._take(length)))

    def push_name(self) -> None:
        module, name = self._line(), self._line()
        if module in _STORAGE_MODULES and name in _STORAGES:
            self.push(_StorageType(_STORAGES[name]))
        elif (module, name) in _FUNCTIONS:
            self.push(_Function(_FUNCTIONS[module, name]))
        elif (module, name) in _NEWER_TYPES or (module in _STORAGE_MODULES and name.endswith("Storage")):
            raise ForeignNameError(f"{module}.{name}", hint=_TYPE_HINT)
        else:
            raise ForeignNameError(f"{module}.{name}")

    def _line(self) -> str:
        limit = min(self._end, self._position + _MAX_NAME)
        found = self._data.find(b"\n", self._position, limit)
        if found < 0:
            raise PickleError(f"the name at byte {self._position} has no end")
        line = _decoded(self._take(found - self._position))
        self._position = found + 1
        return line

    def push_storage(self) -> None:
        """Replace a persistent identifier, which names a storage."""
        match self._pop():
            case ("storage", _StorageType(dtype), str(key), str(), int(count), *view) if len(view) <= 1 and count >= 0:
                pass
            case ("module", *_):
                raise ForeignNameError("the classes of a whole network")
            case _:
                raise PickleError(f"there is no description of a storage before byte {self._position}")
        if self._storages.setdefault(key, dtype) != dtype:
            raise PickleError(f"the storage {shown(key)} has two types")
        match view:
            case [] | [None]:
                self.push(Storage(dtype, key, count))
            case [(str(), int(first), int(size))] if first >= 0 and 0 <= size <= count - first:
                self.push(Storage(dtype, key, size, first))
            case _:
                raise PickleError(f"the storage before byte {self._position} is an unknown kind of view")

    def remember(self, layout: str) -> None:
        value = self._pop()
        self.push(value)
        self._memory[self._number(layout)] = value

    def recall(self, layout: str) -> None:
        key = self._number(layout)
        if key not in self._memory:
            raise PickleError(f"value {key}, recalled before byte {self._position}, does not exist")
        self.push(self._memory[key])

    def make_tuple(self, count: int) -> None:
        self.push(tuple(reversed([self._pop() for _ in range(count)])))

    def make_tuple_of_group(self) -> None:
        self.push(tuple(self._group()))

    def append(self) -> None:
        self._extend([self._pop()])

    def append_group(self) -> None:
        self._extend(self._group())

    def _extend(self, values: list[Any]) -> None:
        target = self._pop()
        if type(target) is not list:
            raise PickleError(f"there is no list to extend before byte {self._position}")
        target.extend(values)
        self.push(target)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._update([key, value])

    def set_group(self) -> None:
        self._update(self._group())

    def _update(self, pairs: list[Any]) -> None:
        target = self._pop()
        if type(target) is not dict or len(pairs) % 2:
            raise PickleError(f"there is no dictionary to fill before byte {self._position}")
        target.update(_dictionary(list(zip(pairs[::2], pairs[1::2], strict=True))))
        self.push(target)

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if type(function) is not _Function or type(arguments) is not tuple:
            raise PickleError(f"there is no function to call before byte {self._position}")
        try:
            self.push(function.call(*arguments))
        except TypeError as error:
            raise PickleError(f"a call before byte {self._position} has the wrong arguments") from error

    def build(self) -> None:
        """Drop the state of an object: of a dictionary, the versions of the modules."""
        self._pop()
        if type(self._stack[-1] if self._stack else None) is not dict:
            raise PickleError(f"there is no dictionary to complete before byte {self._position}")


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PickleError("a text in it is not UTF-8") from error


def _ordered_dict(pairs: Any = None) -> dict[Any, Any]:
    """Make the dictionary that ``OrderedDict(pairs)`` makes. Python 2 wrote a list of lists."""
    if pairs is None:
        return {}
    if type(pairs) is not list:
        raise PickleError("a dictionary in it is not made of a list")
    made = _dictionary(pairs)
    pairs.clear()  # a second call with the same list would cost its length again
    return made


def _dictionary(pairs: list[Any]) -> dict[Any, Any]:
    made = {}
    for pair in pairs:
        if type(pair) not in (tuple, list) or len(pair) != 2:
            raise PickleError("a dictionary in it has entries that are no pairs")
        key, value = pair
        if not isinstance(key, str | int | float | None):
            raise PickleError(f"a dictionary in it has a key of type {type(key).__name__}")
        made[key] = value
    return made


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _gradient: Any = None, _hooks: Any = None, metadata: Any = None
) -> StoredTensor:
    """Make the tensor of ``_rebuild_tensor`` (to PyTorch 0.3) and ``_rebuild_tensor_v2``.

    Its metadata say that the stored values are negated or conjugated when they are read.
    """
    if type(storage) is not Storage:
        raise PickleError("a tensor in it has no storage")
    if metadata:
        raise PickleError(
            "a tensor in it is a negated or conjugated view of other values",
            hint="save its own values: {name: tensor.resolve_neg().clone() for name, tensor in state_dict.items()}",
        )
    return StoredTensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> StoredTensor:
    if type(tensor) is not StoredTensor:
        raise PickleError("a parameter in it is no tensor")
    return tensor


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}

_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,
    b"(": lambda machine: machine.push(_MARK),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b")": lambda machine: machine.push(()),
    b"K": lambda machine: machine.push_number("B"),
    b"M": lambda machine: machine.push_number("<H"),
    b"J": lambda machine: machine.push_number("<i"),
    b"G": lambda machine: machine.push_number(">d"),
    b"\x8a": _Machine.push_long,
    b"X": lambda machine: machine.push_text("<I"),
    b"T": lambda machine: machine.push_text("<i"),
    b"U": lambda machine: machine.push_text("B"),
    b"c": _Machine.push_name,
    b"Q": _Machine.push_storage,
    b"q": lambda machine: machine.remember("B"),
    b"r": lambda machine: machine.remember("<I"),
    b"h": lambda machine: machine.recall("B"),
    b"j": lambda machine: machine.recall("<I"),
    b"\x85": lambda machine: machine.make_tuple(1),
    b"\x86": lambda machine: machine.make_tuple(2),
    b"\x87": lambda machine: machine.make_tuple(3),
    b"t": _Machine.make_tuple_of_group,
    b"a": _Machine.append,
    b"e": _Machine.append_group,
    b"s": _Machine.set_item,
    b"u": _Machine.set_group,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}

"""The value of a pickle that imports nothing, computed by an interpreter of its own.

It has no instruction that imports or calls anything: what a pickle would import or call stays a
`Named` or a `Built`, except for a few builtin types whose values it makes itself. Time, memory and
the size of the result are bounded.

https://github.com/python/cpython/blob/main/Lib/pickletools.py describes every opcode.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from xcomctl.values.pickle_objects import Built, Named, TooMuchError, made, measure, with_state
from xcomctl.values.pickle_opcodes import PickleError, opcodes

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_SECONDS = 5.0
_MIN_MEMORY = 64 * 2**20
_MEMORY_PER_BYTE = 24
"""Bytes of memory allowed per byte of the pickle, at least `_MIN_MEMORY`."""
_MAX_EXPANSION = 100
"""Bytes of the value, written out, per byte of the pickle: shared objects count at every use."""
_MAX_KEY_SIZE = 65_536
"""Size of a tuple that is a key: hashing it takes time for each of its elements."""
_MAX_BITS = 332_192
"""Bits of an integer: 100,000 digits, which take a tenth of a second to write out."""
_CHECK_EVERY = 1_024
_COST = {
    **dict.fromkeys(("EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "SETITEM"), 72),
    **dict.fromkeys(("EMPTY_SET", "FROZENSET"), 224),
    **dict.fromkeys(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 72),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "INST", "OBJ"), 128),
    **dict.fromkeys(("BINFLOAT", "FLOAT", "BININT", "BININT2", "LONG1", "INT", "LONG"), 40),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "SHORT_BINBYTES"), 58),
    **dict.fromkeys(("MARK", "BINUNICODE8", "BINBYTES", "BINBYTES8", "LONG4"), 58),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8"), 58),
}
"""Bytes of memory that an opcode takes; others take `_OTHER_COST`, the size of a reference."""
_OTHER_COST = 8
_SPARSE_COST = 100


def read_pickle(data: bytes) -> Any:
    """Return the value of a pickle; `Named` and `Built` stand for what would need an import.

    Raises:
        PickleError: it is not a valid pickle.
        TooMuchError: it takes too much time or memory, or its value would.
    """
    value = _Machine(data).run()
    measure(value, _MAX_EXPANSION * len(data) + 2**20)
    return value


class _Machine:
    """The stack machine of the pickle format."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        """Heights of the stack at each open MARK."""
        self._memo: list[Any] = []
        self._sparse_memo: dict[int, Any] = {}
        """What is put at an index that does not follow the last one."""
        self._memory = max(_MIN_MEMORY, _MEMORY_PER_BYTE * len(data))
        self._deadline = time.monotonic() + _MAX_SECONDS
        self._steps = 0

    def run(self) -> Any:
        end = 0
        for name, argument, position in opcodes(self._data, keep=len(self._data)):
            self._count(_COST.get(name, _OTHER_COST))
            try:
                if name in _PUSHES:
                    self._stack.append(argument)
                else:
                    _STEPS[name](self, argument)
            except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise PickleError(f"{name} at {position} is not valid here") from error
            end = position + 1
        if end != len(self._data):
            raise PickleError("bytes follow the end of the pickle")
        if len(self._stack) != 1 or self._marks:
            raise PickleError("it leaves more or less than one value")
        return self._stack[0]

    def _count(self, memory: int) -> None:
        """Account for an object; raise TooMuchError if there are too many or time is over."""
        self._memory -= memory
        self._steps += 1
        if self._memory < 0:
            raise TooMuchError("it needs too much memory")
        if not self._steps % _CHECK_EVERY and time.monotonic() > self._deadline:
            raise TooMuchError(f"it takes more than {_MAX_SECONDS:.0f} s")

    # --- what opcodes need ---

    def pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise PickleError("it takes more values than there are")
        return self._stack.pop()

    def pop_mark(self) -> list[Any]:
        """Return the values above the last MARK."""
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def top(self) -> Any:
        return self._stack[-1]

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def put(self, index: int) -> None:
        if index == len(self._memo):
            self._memo.append(self._stack[-1])
        elif index < len(self._memo):
            self._memo[index] = self._stack[-1]
        else:
            self._count(_SPARSE_COST)
            self._sparse_memo[index] = self._stack[-1]

    def memoize(self) -> None:
        self.put(len(self._memo) + len(self._sparse_memo))

    def get(self, index: int) -> None:
        known = index < len(self._memo)
        self._stack.append(self._memo[index] if known else self._sparse_memo[index])

    def hashed(self, value: Any) -> Any:
        """Return a value that may be a key, which is only hashed if that is quick."""
        if isinstance(value, tuple | frozenset):
            measure(value, _MAX_KEY_SIZE)
        self._count(0)
        return value

    def add(self, elements: list[Any]) -> None:
        """Add elements to the list, set or object on top of the stack."""
        target = self.top()
        if isinstance(target, Built):
            target.elements.extend(elements)
        elif isinstance(target, list):
            target.extend(elements)
        elif type(target) is set:
            for one in elements:
                target.add(self.hashed(one))
        else:
            raise PickleError("elements are added to something that is not a list or set")

    def set_items(self, elements: list[Any]) -> None:
        """Set pairs of key and value in the dict or object on top of the stack."""
        target = self.top()
        if isinstance(target, Built):
            target.elements.extend(elements)
            return
        if not isinstance(target, dict):
            raise PickleError("items are set in something that is not a dict")
        for index in range(0, len(elements), 2):
            target[self.hashed(elements[index])] = elements[index + 1]

    def set_of(self, elements: Any) -> set[Any]:
        found: set[Any] = set()
        for one in elements:
            found.add(self.hashed(one))
        return found

    def build(self) -> None:
        state = self.pop()
        target = self.pop()
        self.push(with_state(target, state))

    def reduce(self) -> None:
        arguments = self.pop()
        called = self.pop()
        if not isinstance(called, Named) or not isinstance(arguments, tuple):
            raise PickleError("it calls something that is not a name")
        self.push(made(called.name, arguments, self.set_of))

    def new(self, name: Any, arguments: Any) -> None:
        if not isinstance(name, Named):
            raise PickleError("it makes an object of something that is not a class")
        self.push(Built(name.name, arguments))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleError("a name to import is not a string")
    machine.push(Named(f"{module}.{name}"))


def _new(machine: _Machine, *, keywords: bool) -> None:
    if keywords:
        machine.pop()
    arguments = machine.pop()
    machine.new(machine.pop(), arguments)


def _inst(machine: _Machine, name: Any) -> None:
    machine.new(Named(name), tuple(machine.pop_mark()))


def _obj(machine: _Machine) -> None:
    name, *arguments = machine.pop_mark()
    machine.new(name, tuple(arguments))


def _tuple(machine: _Machine, count: int) -> None:
    found = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(found)))


def _dict(machine: _Machine) -> None:
    elements = machine.pop_mark()
    machine.push({})
    machine.set_items(elements)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _append(machine: _Machine) -> None:
    value = machine.pop()
    machine.add([value])


def _integer(machine: _Machine, number: Any) -> None:
    if number.bit_length() > _MAX_BITS:
        raise TooMuchError("an integer in it is too long")
    machine.push(number)


def _text(machine: _Machine, data: Any) -> None:
    # What Python 2 wrote as str; loading it decodes ASCII.
    machine.push(data.decode("ascii"))


def _refuse(_: _Machine, __: Any) -> None:
    raise PickleError("it refers to data outside the pickle")


_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_PUSHES = frozenset(
    (
        "FLOAT", "BINFLOAT", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
    )
)  # fmt: skip
"""Opcodes that push their argument."""

_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _, __: None),
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _text),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.get(index)),
    **dict.fromkeys(
        ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"), _refuse
    ),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: _tuple(machine, 1),
    "TUPLE2": lambda machine, _: _tuple(machine, 2),
    "TUPLE3": lambda machine, _: _tuple(machine, 3),
    "DICT": lambda machine, _: _dict(machine),
    "FROZENSET": lambda machine, _: machine.push(frozenset(machine.set_of(machine.pop_mark()))),
    "APPEND": lambda machine, _: _append(machine),
    "APPENDS": lambda machine, _: machine.add(machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.pop_mark()),
    "SETITEM": lambda machine, _: _set_item(machine),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "DUP": lambda machine, _: machine.push(machine.top()),
    "MEMOIZE": lambda machine, _: machine.memoize(),
    "GLOBAL": lambda machine, name: machine.push(Named(name)),
    "STACK_GLOBAL": lambda machine, _: _stack_global(machine),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "INST": _inst,
    "OBJ": lambda machine, _: _obj(machine),
    "NEWOBJ": lambda machine, _: _new(machine, keywords=False),
    "NEWOBJ_EX": lambda machine, _: _new(machine, keywords=True),
}

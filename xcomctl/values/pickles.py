"""Describes pickles by reading their opcodes; nothing is loaded or run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from xcomctl.text import visible
from xcomctl.values.pickle_opcodes import Long, PickleError, opcodes

MAX_OPCODES = 500_000
"""Opcodes that are read of a pickle; more than a value that fills a MySQL BLOB can have."""
_MAX_SECONDS = 5.0
_MAX_NAMES = 200
_MAX_REMEMBERED = 20_000
"""Strings in the memo, by which a class may be named."""
_NAME_BYTES = 1_000
"""A longer string names no class."""
_LONGEST_ARGUMENT = 80
_CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_PUTS = frozenset({"BINPUT", "LONG_BINPUT", "PUT"})
_GETS = frozenset({"BINGET", "LONG_BINGET", "GET"})


def describe_pickle(data: bytes, most: int = 200) -> dict[str, object]:
    """Return a pickle's protocol, size, first `most` opcodes, and the names that it imports.

    `complete` says whether the bytes are exactly one whole pickle, and is None if not all of it was
    read. If it is not True, `problem` says why.
    """
    scan = _Scan(most)
    problem = scan.read(data)
    facts: dict[str, object] = {
        "protocol": scan.protocol,
        "size_bytes": len(data),
        "complete": None if scan.stopped else problem is None,
        "globals": [visible(one) for one in scan.names],
        "calls": scan.calls,
        "opcodes_total": scan.total,
        "opcodes": scan.shown,
    }
    if problem:
        facts["problem"] = problem
    return facts


def may_be_whole(data: bytes) -> bool:
    """Return whether the bytes are one whole pickle, as far as it is read."""
    return data.endswith(b".") and describe_pickle(data, most=0)["complete"] is not False


@dataclass(slots=True)
class _Scan:
    """What is found while opcodes are read."""

    most: int
    protocol: int = 0
    total: int = 0
    calls: int = 0
    stopped: bool = False
    """Whether reading stopped before the end."""
    shown: list[dict[str, object]] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    _strings: list[str] = field(default_factory=list)
    """The last few strings, which may name a class."""
    _memo: dict[int, str] = field(default_factory=dict)
    _memoized: int = 0

    def read(self, data: bytes) -> str | None:
        """Read opcodes up to the end or a limit; return what is wrong, or None."""
        deadline = time.monotonic() + _MAX_SECONDS
        end = 0
        try:
            for name, argument, position in opcodes(data, keep=_NAME_BYTES):
                if self.total == MAX_OPCODES or (
                    not self.total % 4096 and time.monotonic() > deadline
                ):
                    self.stopped = True
                    return f"not all was read: stopped after {self.total:,} opcodes"
                self.total += 1
                if self.total <= self.most:
                    self._show(name, argument, position)
                self._note(name, argument)
                end = position + 1
        except PickleError as error:
            return visible(str(error))
        return None if end == len(data) else "bytes follow the end of the pickle"

    def _show(self, name: str, argument: object, position: int) -> None:
        entry: dict[str, object] = {"pos": position, "op": name}
        if argument is not None:
            entry["arg"] = _short(argument)
        self.shown.append(entry)

    def _note(self, name: str, argument: object) -> None:
        if name in ("GLOBAL", "INST"):
            self._import(argument if isinstance(argument, str) else "?")
        elif "UNICODE" in name:
            self._strings.append(argument if isinstance(argument, str) else "?")
            del self._strings[:-8]
        elif name == "STACK_GLOBAL":
            self._import(".".join(self._strings[-2:]) if len(self._strings) > 1 else "?")
        elif name == "MEMOIZE":
            self._remember(self._memoized)
            self._memoized += 1
        elif name in _PUTS and isinstance(argument, int):
            self._remember(argument)
        elif name in _GETS and isinstance(argument, int) and argument in self._memo:
            self._strings.append(self._memo[argument])
            del self._strings[:-8]
        elif name == "PROTO" and isinstance(argument, int):
            self.protocol = argument
        if name in _CALLS:
            self.calls += 1

    def _import(self, name: str) -> None:
        if len(self.names) < _MAX_NAMES:
            self.names[name] = None

    def _remember(self, index: int) -> None:
        if self._strings and len(self._memo) < _MAX_REMEMBERED:
            self._memo[index] = self._strings[-1]


def _short(argument: object) -> str | int:
    if isinstance(argument, Long):
        return f"{argument.size:,} bytes"
    if isinstance(argument, int) and abs(argument) < 2**63:
        return argument
    if isinstance(argument, bytes | bytearray):
        text = f"{len(argument)} bytes: {bytes(argument[:24]).hex()}"
    elif isinstance(argument, int):
        text = f"integer of {argument.bit_length()} bits"
    else:
        text = visible(str(argument)[: _LONGEST_ARGUMENT + 1])
    return text if len(text) <= _LONGEST_ARGUMENT else f"{text[:_LONGEST_ARGUMENT]}…"

"""Describes pickles by reading their opcodes; nothing is loaded or run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

_CALLS = ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD")
_TEXTS = (
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
)  # fmt: skip
_LONGEST_ARGUMENT = 80


def describe_pickle(data: bytes, most: int = 200) -> dict[str, object]:  # noqa: C901 (a branch per opcode)
    """Return a pickle's protocol, size, first `most` opcodes, and the names that it imports.

    `complete` says whether the bytes are exactly one whole pickle; if not, `problem` says why.
    """
    opcodes: list[dict[str, object]] = []
    names: list[str] = []
    strings: list[str] = []
    memo: dict[int, str] = {}
    protocol = total = calls = 0
    end = -1
    problem: str | None = None
    try:
        for name, argument, position in _opcodes(data):
            total += 1
            if total <= most:
                entry: dict[str, object] = {"pos": position, "op": name}
                if argument is not None:
                    entry["arg"] = _short(argument)
                opcodes.append(entry)
            if name == "PROTO" and isinstance(argument, int):
                protocol = argument
            elif name in _TEXTS and isinstance(argument, str):
                strings.append(argument)
            elif name in ("GLOBAL", "INST") and isinstance(argument, str):
                names.append(argument.replace(" ", ".", 1))
            elif name == "STACK_GLOBAL":
                names.append(".".join(strings[-2:]) if len(strings) > 1 else "?")
            elif name == "MEMOIZE" and strings:
                memo[len(memo)] = strings[-1]
            elif name in ("BINPUT", "LONG_BINPUT", "PUT") and strings and isinstance(argument, int):
                memo[argument] = strings[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET") and argument in memo:
                strings.append(memo[argument])
            if name in _CALLS:
                calls += 1
            if name == "STOP":
                end = position + 1
            del strings[:-8]
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, KeyError) as error:
        problem = visible(str(error).splitlines()[0][:120]) if str(error) else type(error).__name__
    if problem is None and end != len(data):
        problem = "bytes follow the end of the pickle" if end > 0 else "the pickle has no end"
    facts: dict[str, object] = {
        "protocol": protocol,
        "size_bytes": len(data),
        "complete": problem is None,
        "globals": [visible(one) for one in dict.fromkeys(names)],
        "calls": calls,
        "opcodes_total": total,
        "opcodes": opcodes,
    }
    if problem:
        facts["problem"] = problem
    return facts


def _opcodes(data: bytes) -> Iterator[tuple[str, object, int]]:
    import pickletools

    for opcode, argument, position in pickletools.genops(data):
        yield opcode.name, argument, position or 0


def _short(argument: object) -> str | int:
    if isinstance(argument, int) and abs(argument) < 2**63:
        return argument
    if isinstance(argument, bytes | bytearray):
        text = f"{len(argument)} bytes: {bytes(argument[:24]).hex()}"
    elif isinstance(argument, int):
        text = f"integer of {argument.bit_length()} bits"
    else:
        text = visible(str(argument)[: _LONGEST_ARGUMENT + 1])
    return text if len(text) <= _LONGEST_ARGUMENT else f"{text[:_LONGEST_ARGUMENT]}…"

"""Reads the shape of a DataFrame that Airflow stored as Parquet from the file's footer.

Implements Thrift's compact protocol only as far as needed:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"PAR1"
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    0, 1, 2, 3, 7, 8, 9, 10, 11, 12,
)  # fmt: skip
_INDEX_COLUMN = re.compile(r"__index_level_\d+__")


_PHYSICAL = ("bool", "int32", "int64", "timestamp", "float32", "float64", "bytes", "bytes")
"""By the number of Parquet's physical type."""
_CONVERTED = {0: "string", 5: "decimal", 6: "date", 9: "timestamp", 10: "timestamp"}
"""By the number of Parquet's converted type, as far as it says more."""


@dataclass(frozen=True, slots=True)
class FrameShape:
    """The shape of a DataFrame, without the index that pandas stores as a column."""

    rows: int
    types: dict[str, str]
    """Type by column, in order: pandas' dtype where the file has it, else that of Parquet."""


def shape(data: bytes) -> tuple[int, list[str]] | None:
    """Return the number of rows and the column names, or None if the data is not Parquet."""
    found = frame_shape(data)
    return None if found is None else (found.rows, list(found.types))


def frame_shape(data: bytes) -> FrameShape | None:
    """Return the shape and types of a DataFrame, or None if the data is not Parquet."""
    if len(data) < 12 or data[-4:] != _MAGIC:
        return None
    length = int.from_bytes(data[-8:-4], "little")
    if not 0 < length <= len(data) - 8:
        return None
    try:
        return _Footer(data[-8 - length : -8]).shape()
    except (ValueError, IndexError, RecursionError, OverflowError):
        return None


class _Element(NamedTuple):
    """A column of the file, or a group of them."""

    name: str
    children: int
    type: str


def _pandas_types(text: str) -> dict[str, str]:
    """Return the dtype of each column from the metadata that pandas adds to a file.

    https://pandas.pydata.org/docs/development/developer.html
    """
    try:
        columns = json.loads(text)["columns"]
        return {str(one["field_name"]): visible(str(one["numpy_type"]))[:80] for one in columns}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


class _Footer:
    """A reader of the FileMetaData structure."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def shape(self) -> FrameShape | None:
        rows: int | None = None
        elements: list[_Element] = []
        pandas_types: dict[str, str] = {}
        for field, kind in self._fields():
            if field == 2 and kind == _LIST:
                elements = [self._element() for _ in range(self._list_size())]
            elif field == 3:
                rows = self._integer()
            elif field == 5 and kind == _LIST:
                pairs = [self._pair() for _ in range(self._list_size())]
                pandas_types = _pandas_types(dict(pairs).get("pandas", ""))
            else:
                self._skip(kind)
        if rows is None or not elements:
            return None
        columns = self._columns(elements)
        return FrameShape(rows, {one.name: pandas_types.get(one.name, one.type) for one in columns})

    @staticmethod
    def _columns(elements: list[_Element]) -> list[_Element]:
        """Return the columns below the root; `elements` is a tree in depth-first order."""
        columns: list[_Element] = []
        position = 1
        for _ in range(elements[0].children):
            columns.append(elements[position])
            below = 1
            while below:
                below += elements[position].children - 1
                position += 1
        return [one for one in columns if not _INDEX_COLUMN.fullmatch(one.name)]

    def _element(self) -> _Element:
        name, children, physical, converted = "", 0, -1, -1
        for field, kind in self._fields():
            if field == 4:
                name = self._bytes().decode("utf-8", "replace")
            elif field == 5:
                children = self._integer()
            elif field == 1:
                physical = self._integer()
            elif field == 6:
                converted = self._integer()
            else:
                self._skip(kind)
        plain = _PHYSICAL[physical] if 0 <= physical < len(_PHYSICAL) else "nested"
        return _Element(name, children, _CONVERTED.get(converted, plain))

    def _pair(self) -> tuple[str, str]:
        key = value = ""
        for field, kind in self._fields():
            if kind != _BINARY:
                self._skip(kind)
            elif field == 1:
                key = self._bytes().decode("utf-8", "replace")
            else:
                value = self._bytes().decode("utf-8", "replace")
        return key, value

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while True:
            head = self._byte()
            kind = head & 0x0F
            if kind == _STOP:
                return
            field = field + (head >> 4) if head >> 4 else self._integer()
            yield field, kind

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("number too long")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self) -> bytes:
        length = self._varint()
        if length > len(self._data) - self._at:
            raise ValueError("text too long")
        self._at += length
        return self._data[self._at - length : self._at]

    def _list_size(self) -> int:
        size = self._byte() >> 4
        size = self._varint() if size == 15 else size
        if size > len(self._data):
            raise ValueError("list too long")
        return size

    def _skip(self, kind: int) -> None:
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self._at += 1
        elif kind == _DOUBLE:
            self._at += 8
        elif kind == _BINARY:
            self._bytes()
        elif kind in (_LIST, _SET):
            inner = self._data[self._at] & 0x0F
            for _ in range(self._list_size()):
                # In a list a boolean takes one byte; in a struct its type is its value.
                self._skip(_BYTE if inner in (_TRUE, _FALSE) else inner)
        elif kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            for _ in range(min(size, len(self._data))):
                self._skip(kinds >> 4)
                self._skip(kinds & 0x0F)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner)
        else:
            self._varint()

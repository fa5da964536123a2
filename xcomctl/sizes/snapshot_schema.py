"""The JSON Schema of a snapshot's unpacked file: https://json-schema.org/draft/2020-12/schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.sizes.snapshot_file import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_TEXT_OR_NULL = {"type": ["string", "null"]}


def _table(properties: Mapping[str, object], *optional: str) -> dict[str, object]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _some(items: Mapping[str, object], **more: object) -> dict[str, object]:
    return {"type": "array", "items": items, **more}


_GROUP = _table(
    {
        "dag_id": _TEXT,
        "task_id": _TEXT,
        "key": _TEXT_OR_NULL,
        "count": _COUNT,
        "total_bytes": _COUNT,
        "max_bytes": _COUNT,
        "days": _some(
            _some(_COUNT, minItems=2, maxItems=2),
            description="Ranges of the list of all days: the index of the first, and how many.",
        ),
        "largest": _some(_COUNT, description="Per day, the bytes of the largest value."),
        "others": _some(_COUNT, description="Per day, the bytes of all values but the largest."),
        "sizes": {
            "type": "string",
            "description": "Per day, a histogram of sizes by powers of two; days are separated by "
            "spaces. A letter for each bucket that is not empty, and its count unless that is 1. "
            "a is 0 bytes, b is 1, c is 2 to 3, d is 4 to 7 and so on to z, then A to Z; - is NULL.",
        },
        "findings": {"type": "object", "additionalProperties": _COUNT},
    },
    "findings",
)
_BACKEND = _table(dict.fromkeys(("name", "server_version", "airflow", "column_type"), _TEXT))
_SUMMARY = _table(
    {
        "groups": _COUNT,
        "count": _COUNT,
        "total_bytes": _COUNT,
        "max_bytes": {"type": ["integer", "null"]},
    }
)
_KEY = {"type": ["integer", "string", "null"]}
_PART = _table({"number": _COUNT, "of": _COUNT, "start": _KEY, "end": _KEY})
_SNAPSHOT = _table(
    {
        "deployment": _TEXT,
        "store": _TEXT,
        "database_id": _TEXT,
        "backend": _BACKEND,
        "limits": _some(_table({"name": _TEXT, "bytes": _COUNT, "source": _TEXT}), minItems=1),
        "filters": {"type": "object"},
        "rules": _some(_TEXT, description="Rules whose findings are counted per group."),
        "part": {"anyOf": [{"type": "null"}, _PART]},
        "summary": _SUMMARY,
        "days": _some(_TEXT_OR_NULL, description="Every day with an XCom; null for no timestamp."),
        "groups": _some(_GROUP),
    }
)


def snapshot_schema() -> dict[str, object]:
    """Return the schema."""
    document = {
        "schema": {"const": SCHEMA},
        "written_by": _TEXT,
        "snapshots": _some(_SNAPSHOT, minItems=1),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        **_table(document),
    }

"""References into object storage: values that are a single URL of an object store."""

from __future__ import annotations

import json
import re

from xcomctl.values.sniff import to_bytes

_REFERENCE = re.compile(
    r"(?:[a-z0-9]+_)?(?:file|s3|s3a|s3n|gs|gcs|abfs|abfss|wasb|wasbs|az|adl|hdfs|webhdfs|oss|cos|obs|minio)"
    r"://[^\s\x00-\x1f]+",
    re.IGNORECASE,
)


def reference(value: object) -> str | None:
    """Return a decoded value if it is a single URL of an object store, else None."""
    if isinstance(value, str) and len(value) < 4096 and _REFERENCE.fullmatch(value):
        return value
    return None


def stored_reference(raw: bytes | str) -> str | None:
    """Return the URL if a stored, valid value is a single URL of an object store, else None."""
    data = to_bytes(raw)
    if len(data) > 4096 or not data.lstrip().startswith(b'"'):
        return None
    return reference(json.loads(data))

"""Random arguments, environments, files and stored values."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

HOSTILE = (
    "", " ", "a", "dag", "task", "return_value", "run_1", "*", "?", "[", "[!a]", "a*b?[c-d]", "-", "--", "-1",
    "%", "_", "'", '"', "\\", ";--", "\n", "\t", "\r\n", "\x1b[31m", "\u202e", "\u2028", "é", "日本", "💥",
    "\ud800", "\udce9", "\udcff\udcfe", "a" * 300, "x" * 70_000, "../../x", "/", "/etc/passwd", "::error::x",
    "=1+1", "{}", "[0]", "null", "latest", "0", "00", "1e999", "999999999999999999999", "-2147483649", "٣", "nan",
    "return_value\x7f", "a/b:c", "a/b/c[3]:k", "~", "~nobody/x", "$HOME", "%(x)s", "{x}", "\ufeff", "CON", "a\\b",
)  # fmt: skip
"""Texts for any place; none holds a NUL, which no argument can."""

NUMBERS = (
    "9" * 5000,
    "0",
    "1",
    "-1",
    "2",
    "5",
    "100",
    "2147483648",
    "9" * 30,
    "1.5",
    "x",
    "",
    "-0",
    "+1",
    "1_0",
    "0x10",
)
SIZES = (
    "0",
    "1",
    "48KiB",
    "1MB",
    "1.5GB",
    "48K",
    "-1",
    "9" * 40,
    "1e3",
    "KiB",
    "1 KiB",
    "0.1B",
    "1PiB",
    "nan",
    "auto",
    "nominal",
)
SHARES = ("80%", "0%", "100%", "101%", "-1%", "%", "0.8", "nan%", "1KiB", "1e999%")
TIMES = ("7d", "0s", "90m", "1.5h", "99999999999w", "2026-01-31", "2026-01-31T07:00Z", "9999-12-31T23:59:59-23:00",
         "0001-01-01T00:00:00+23:00", "2026-02-30", "1d1h", "-1d", "now", "20260131T070809", "∞s", "1e9d")  # fmt: skip
FORMATS = ("table", "plain", "json", "jsonl", "csv", "tsv", "yaml", "markdown", "sarif", "junit", "github",
           "gitlab", "openmetrics", "parquet", "raw", "pretty", "repr", "ncdu", "xml")  # fmt: skip
PATHS = ("out", "./out", "-", "/dev/null", "/dev/full", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/7",
         "/proc/self/fd/2", "/proc/self/mem", "none/out", "dir", "dir/", "loop", "loop/x", "file/x", "/", ".", "..", "",
         "a.db", "b.db", "x.toml", "base.json", "export.jsonl", "export.csv", "undo", "airflow.cfg", "x" * 300, "\udce9",
         "latin1\udce9/x", "~/x", "/root/../tmp/../dev/null", "socket", "unreadable")  # fmt: skip
READ_PATHS = tuple(path for path in PATHS if not path.startswith(("/dev/st", "/dev/fd", "/proc")))
"""Those of which reading ends, also where they are a terminal."""
COLUMNS = (
    "dag_id",
    "size",
    "size_bytes",
    "map",
    "nothing",
    "dag_id,key",
    ",",
    "",
    "dag_id,dag_id",
    "value",
    "run",
)
RULES = ("xcom-over-limit", "xcom-secret", "xcom-*", "", ",", "nothing", "xcom-pickled,xcom-grew")
WORDS = ("error", "warning", "note", "never", "always", "auto", "3.3.2", "3.0.0", "4.0", "2.11", "mysql:2.8", "mysql",
         "oracle", "sqlite:9", "text", "size", "-size", "-run", "run", "growth", "bytes", "day", "check", "show", "init",
         "schema", "datetime", "tuple", "uuid", "decimal", "timedelta", "1.10", "a=b", "a=", "=b", "dag=other")  # fmt: skip
URLS = (
    "a.db", "b.db", "sqlite:///a.db", "sqlite:////tmp/nothing.db", "sqlite://", "sqlite:///:memory:", "sqlite:///file:a.db?mode=rw&uri=true",
    "postgresql://u:p@127.0.0.1:1/db", "postgresql://127.0.0.1:0/db", "postgresql://127.0.0.1:65536/db", "postgresql://127.0.0.1:x/db",
    "postgresql://[::1]:1/db", "postgresql://[::1/db", "postgresql+asyncpg://127.0.0.1:1/x?ssl=require", "postgresql:///x?host=/nowhere&port=1",
    "postgresql://127.0.0.1:1,127.0.0.1:1/x", "postgresql+psycopg://u@h@127.0.0.1:1/x?connect_timeout=x&sslmode=nothing",
    "mysql://u:p@127.0.0.1:1/db?charset=nothing", "mysql+pymysql://127.0.0.1:1/db?ssl_ca=none&ssl_mode=X", "mysql://127.0.0.1:99999/x",
    "mysql://127.0.0.1:-1/x", "mysql+mysqldb://127.0.0.1:1/x?read_default_file=airflow.cfg&unix_socket=/nowhere",
    "mysql+aiomysql://127.0.0.1:1/x?minsize=x", "mysql://127.0.0.1:1", "mysql:///", "mysql", "://", "http://x", "jdbc:mysql://127.0.0.1:1/x",
    "host=127.0.0.1 port=1 password=x", "Server=127.0.0.1;Pwd=x", "oracle://x", "postgresql://%zz:%@127.0.0.1:1/%00", "sqlite:///\udce9",
    "postgresql://127.0.0.1:1/\udce9", "mysql://\ud800@127.0.0.1:1/x",
)  # fmt: skip
JSON = ("1", "-0", "1e999", "NaN", '"x"', '"\\ud800"', "[]", "{}", '{"a": 1, "a": 2}', "[" * 100_000, "{" * 2000, '"' , "nul", "",
        '{"__classname__": "x"}', '{"__type": "tuple", "__var": [1]}', "1" * 5000, '"' + "x" * 100_000 + '"', "\ufeff1", "1.0000000000000000001",
        "@export.jsonl", "@none", "@dir", "@", "@-", "-", '"2026-01-31"', '["2026-01-31"]', '"' + "9" * 50 + '-01-01"', "1e400", "-1e-400")  # fmt: skip


def value(rng: random.Random) -> bytes | str | int | float | None:
    """Return something to store as an XCom: JSON, envelopes, pickles, and what is none of them."""
    kind = rng.randrange(12)
    if kind == 0:
        return rng.choice((None, 0, -1, 1.5, float("inf"), 2**62, "", b"", "null", b"null"))
    if kind == 1:
        return rng.randbytes(rng.choice((1, 7, 64, 5000)))
    if kind == 2:
        return mutated(rng, pickle.dumps(_document(rng, 3), protocol=rng.randrange(6)))
    if kind == 3:
        return b"\x80\x04" + bytes(rng.choices(range(256), k=rng.randrange(200)))
    if kind == 4:
        return rng.choice(JSON).encode("utf-8", "surrogatepass")
    if kind == 5:
        return _nested(rng)
    if kind == 6:
        return json.dumps(_envelope(rng, 2)).encode()
    if kind == 7:
        return mutated(rng, json.dumps(_envelope(rng, 2)).encode())
    if kind == 8:
        return json.dumps(json.dumps(_document(rng, 2)))
    text = json.dumps(_document(rng, 3), ensure_ascii=rng.random() < 0.5)
    return (
        text.encode("utf-8", "surrogatepass")
        if rng.random() < 0.7
        else text.encode("utf-8", "replace").decode()
    )


def _nested(rng: random.Random) -> bytes:
    depth = rng.choice((10, 100, 900, 1100, 20_000))
    return rng.choice((b"[", b'{"a":')) * depth + b"1" + rng.choice((b"]", b"}", b"")) * depth


def _document(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((None, True, 0, -1, 1.5, 1e308, 10**40, float("nan"), *HOSTILE[:40]))
    if rng.random() < 0.5:
        return [_document(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(HOSTILE[:40]): _document(rng, depth - 1) for _ in range(rng.randrange(4))}


_CLASSES = (
    "builtins.tuple", "builtins.set", "builtins.frozenset", "datetime.datetime", "datetime.date", "datetime.timedelta",
    "decimal.Decimal", "uuid.UUID", "numpy.ndarray", "numpy.float64", "numpy.bool_", "pandas.core.frame.DataFrame", "pyarrow.lib.Table",
    "pendulum.datetime.DateTime", "pendulum.date.Date", "pendulum.tz.timezone.Timezone", "airflow.sdk.definitions.asset.Asset",
    "airflow.datasets.Dataset", "deltalake.table.DeltaTable", "kubernetes.client.models.v1_pod.V1Pod", "x", "", "os.system", "a.b.c",
)  # fmt: skip
_TYPES = (
    "tuple",
    "set",
    "frozenset",
    "datetime",
    "timedelta",
    "timezone",
    "dict",
    "relativedelta",
    "xcom_ref",
    "x",
    "",
)


def _envelope(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.2:
        return _document(rng, 1)
    inner = _envelope(rng, depth - 1)
    kind = rng.randrange(5)
    if kind == 0:
        given = {
            "__classname__": rng.choice(_CLASSES),
            "__version__": rng.choice((1, 2, 99, "1", None, -1)),
            "__data__": inner,
        }
        return {name: given[name] for name in given if rng.random() < 0.95}
    if kind == 1:
        return {"__type": rng.choice(_TYPES), "__var": inner}
    if kind == 2:
        return {"__classname__": rng.choice(_CLASSES), "__version__": 1, "__data__": rng.choice((
            {"__var": inner}, {"timestamp": rng.choice((0, 1e99, "x", None)), "tz": rng.choice(("UTC", "x", None, ["UTC", "x", 1, True]))},
            "1" * 400, "NaN", 1e308, -(10**20), "2026-01-31", "9999-99-99", "not-a-uuid", [1, "x"], None, {"value": inner, "dtype": "x"},
        ))}  # fmt: skip
    if kind == 3:
        return {"__xcomctl__": inner}
    return [inner, inner]


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return the data with a few bytes changed, cut, doubled or inserted."""
    out = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = out[: rng.randrange(50)]
        else:
            out[at:at] = rng.choice(
                (b"\n", b"\0", b'"', b"{", b"\xff", b"\xef\xbb\xbf", b"=", b"[", b"'")
            )
    return bytes(out)


def pick(rng: random.Random, *pools: Sequence[str]) -> str:
    """Return a text that fits one of the pools, or now and then any other."""
    return rng.choice(HOSTILE) if rng.random() < 0.07 else rng.choice(rng.choice(pools))

"""Pages of made-up values, and texts of which adversarial ones are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from xcomctl.exchange.pages import Page
from xcomctl.exchange.stored import stored_as
from xcomctl.model import Size, XComEntry, XComRef
from xcomctl.values.sniff import sniff, to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.model import Raw, Storage

PIECES = (
    *'"\\/:,[]{} \n\r\t\x00\x1f\x7f',
    *("1", "-0", "0.0", "1e5", "-0.0", "1E400", "12345678901234567890", "NaN", "-Infinity", "true", "null", "2.50", "1.5e-05", "-0e-1"),
    *("\\u0000", "\\ud83d", "\\ude00", "\\u005f", "\\u0061", "\\n", '\\"', "\\\\", "\\/"),
    *("é", "ſ", "\u212a", "ı", "\u3000", "日本", "😀", "\xa0", "\x85"),
    *('{"', '": "', '": ', '", "', '"}', '["', '"]', "[[", "]]", "{}", "[]", '"\\"', "[" * 40, "]" * 40),
    *("passw", "passwd", "password", "pwd", "secret", "key", "api_key", "TOKEN", "Bearer", "authorization", "next_token"),
    *("://", "postgres://u:", "@host", "s3://bucket/a", "s3:\\/\\/b", "file://", "@"),
    *("AKIA", "ASIA", "ghp_", "glpat-", "xoxb-", "eyJ", ".eyJ", "SG.", "hf_", "sk-ant-", "T3BlbkFJ", "AccountKey=", "=="),
    *("hooks.slack.com/services/", "-----BEGIN RSA PRIVATE KEY-----", "PRIVATE KEY BLOCK-----", "gAAAAA", "dop_v1_"),
    *("Zq3vN8sLr0", "XK7P2QMABCDWJ4NH", "deadbeef90", "aZ09_-Qw"),
    *('"__type"', '"__var"', '"__classname__"', '"__version__"', '"__data__"', "__type", '{"b": 1, "a": 2}', '{"a": 1, "bb": 2}'),
    *("]" * 3, "[" * 31, '{"a":' * 31),
)  # fmt: skip
"""What a rule looks for, or what may hide it, whole and in parts."""

TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)
BYTES = st.one_of(
    TEXTS.map(lambda text: text.encode("utf-8")),
    TEXTS.map(lambda text: text.encode("utf-16-le")),
    TEXTS.map(lambda text: text.encode("utf-8")[:-1]),
    TEXTS.map(lambda text: f'"{text}"'.encode()),
    TEXTS.map(lambda text: text.encode("latin-1", "replace")),
    st.sampled_from([b"\x80\x04K\x01.", b"\x80", b"", b"I1\n.", b"\xff", b"\xef\xbb\xbf1"]),
)


def whole(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return JSON texts of documents whose strings are such values."""
    from xcomctl.values.strictjson import dumps

    keys = st.one_of(values, st.sampled_from(["a", "b", "aa", "key", "password", "__type"]))
    numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    leaves = st.one_of(values, numbers, st.booleans(), st.none())
    documents = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=8,
    )
    return documents.map(dumps)


RAWS: st.SearchStrategy[Raw] = st.one_of(
    BYTES, TEXTS, whole(TEXTS), whole(TEXTS).map(str.encode), st.none(), st.integers(), st.floats()
)
KEYS = st.sampled_from(["return_value", "api_key", "password", "key", "\u212aey"])


def entry_of(number: int, key: str, raw: Raw, storage: Storage) -> XComEntry:
    """Return an entry for a value; every third one belongs to another task."""
    size = (
        None
        if raw is None
        else Size(len(to_bytes(raw if isinstance(raw, bytes | str) else str(raw))))
    )
    ref = XComRef("dag", f"task_{number % 3}", f"run_{number}", key)
    return XComEntry(ref, size, None, sniff(raw, size, storage), (number,))  # fmt: skip


def page_of(rows: Sequence[tuple[str, Raw]], storage: Storage) -> Page:
    """Return the page of these keys and values."""
    entries = [entry_of(at, key, raw, storage) for at, (key, raw) in enumerate(rows)]
    stored = [
        (
            one.ref.dag_id, one.ref.task_id, one.ref.run_id, one.ref.map_index, one.ref.key, None, None,
            one.size, 1, False, None, stored_as(raw, storage), to_bytes(raw) if isinstance(raw, str) else raw,
        )
        for one, (_, raw) in zip(entries, rows, strict=True)
    ]  # fmt: skip
    return Page(stored, entries.__getitem__, lambda at: rows[at][1])

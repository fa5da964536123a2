"""Credentials in values, found by the token formats of providers or by the name of a field.

Precision matters more than recall: a CI gate with false alarms is switched off. A token must have
its provider's prefix and length, a named field must contain something as random as a credential,
and placeholders and documentation examples are skipped. Only the kind of a credential leaves this
module, never its text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from xcomctl.audit.rule import Rule, Severity
from xcomctl.values.literals import Literals

if TYPE_CHECKING:
    from xcomctl.exchange.pages import Page

MOST_BYTES = 4 * 1024 * 1024
"""Only this many bytes of a value are searched."""

_TOKENS = (
    (
        "an AWS access key",
        (
            "AKIA",
            "ASIA",
        ),
        re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    ),
    (
        "a GitHub token",
        (
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
        ),
        re.compile(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{82})(?!\w)"),
    ),
    (
        "a GitLab token",
        (
            "glpat-",
            "gldt-",
            "glrt-",
            "glptt-",
        ),
        re.compile(r"(?<!\w)gl(?:pat|dt|rt|ptt)-[\w-]{20,300}"),
    ),
    ("a Slack token", ("xox",), re.compile(r"(?<!\w)xox[abeoprs]-(?:[\w-]{10,250})")),
    (
        "a Slack webhook",
        ("hooks.slack.com",),
        re.compile(r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{20,}"),
    ),
    ("a Google API key", ("AIza",), re.compile(r"(?<!\w)AIza[\w-]{35}(?![\w-])")),
    ("a Google OAuth token", ("ya29.",), re.compile(r"(?<!\w)ya29\.[\w-]{30,}")),
    ("a Stripe key", ("k_live_",), re.compile(r"(?<!\w)[rs]k_live_[A-Za-z0-9]{20,250}")),
    (
        "an OpenAI key",
        ("T3BlbkFJ",),
        re.compile(r"(?<!\w)sk-(?:[a-z]+-)?[\w-]{20,200}T3BlbkFJ[\w-]{20,}"),
    ),
    ("an Anthropic key", ("sk-ant-",), re.compile(r"(?<!\w)sk-ant-[a-z0-9]+-[\w-]{40,}")),
    ("a SendGrid key", ("SG.",), re.compile(r"(?<!\w)SG\.[\w-]{22}\.[\w-]{43}(?![\w-])")),
    ("an npm token", ("npm_",), re.compile(r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)")),
    ("a PyPI token", ("pypi-AgE",), re.compile(r"(?<!\w)pypi-AgE[\w-]{50,}")),
    ("a Databricks token", ("dapi",), re.compile(r"(?<!\w)dapi[0-9a-f]{32}(?:-\d)?(?!\w)")),
    (
        "a Vault token",
        (
            "hvs.",
            "hvb.",
            "hvr.",
        ),
        re.compile(r"(?<!\w)hv[sbr]\.[\w-]{24,}"),
    ),
    ("a DigitalOcean token", ("_v1_",), re.compile(r"(?<!\w)do[opr]_v1_[a-f0-9]{64}(?!\w)")),
    ("a Hugging Face token", ("hf_",), re.compile(r"(?<!\w)hf_[A-Za-z0-9]{34}(?!\w)")),
    ("an Azure storage key", ("AccountKey=",), re.compile(r"AccountKey=[A-Za-z0-9+/]{86}==")),
    (
        "a JSON web token",
        ("eyJ",),
        re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{16,}"),
    ),
)
"""Kind, substrings of which at least one must occur, and the pattern. Searching for a substring is
a thousand times faster than matching a pattern, and most values contain none."""
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[\s\\rn]{1,4}[A-Za-z0-9+/=:\- ]{16}"
)
_URL = re.compile(
    r"(?<![\w+.-])[a-z][a-z0-9+.-]{1,24}://[^\s:/?#@\"'\\<>]{0,100}:([^\s/?#@\"'\\<>]{3,200})@[\w.\[]"
)
_SENSITIVE = (
    r"passw(?:or)?d|passphrase|secret|api[_-]?key|private[_-]?key|secret[_-]?key|access[_-]?key"
    r"|account[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token|bearer|authorization"
    r"|client[_-]?secret|(?<![a-z])token(?![a-z])|(?<![a-z])pwd(?![a-z])"
)
_WORDS = ("passw", "pwd", "passphrase", "secret", "key", "token", "bearer", "authorization")
"""Every sensitive name contains one of these."""
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
_HARMLESS_NAME = re.compile(
    r"next|page|continu|sync|cursor|count|max|num|limit|type|url|uri|path|file|arn|name|_id$|id$"
    r"|expir|public|hash|version|scope|issuer",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"\"(?P<name>[\w.\-]{0,60}?(?:" + _SENSITIVE + r")[\w.\-]{0,40})\\{0,7}\"\s*:\s*\\{0,7}\""
    r"(?P<value>[^\"\\\s]{6,400})\\{0,7}\"",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"[*x.\-_#0]+|<.*>|\$\{?.*|\{\{.*|%\(.*|\[.*\]|(?:your|my|the|some|insert|enter|replace)[-_ ].*"
    r"|.*(?:example|changeme|change_me|redacted|placeholder|dummy|fake|sample|masked).*"
    r"|none|null|true|false|undefined|password|passwd|secret|token|test|admin|user|airflow|postgres",
    re.IGNORECASE,
)
_SERIALIZED_TABLE = re.compile(r"deltalake\.table\.DeltaTable|pyiceberg\.table\.Table")
_ENCRYPTED_OPTIONS = re.compile(
    r"\\*\"(?:storage_options|catalog_properties)\\*\"\s*:\s*\{[^{}]*\}"
)
"""The part of a Delta or Iceberg table that Airflow encrypts with the deployment's Fernet key.

https://github.com/apache/airflow/blob/main/task-sdk/src/airflow/sdk/serde/serializers/deltalake.py
"""
_FERNET = re.compile(r"gAAAAA[\w-]{60,}={0,2}")
"""A token as https://github.com/fernet/spec/blob/master/Spec.md has it: version 0x80, then a time."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def find(raw: bytes | str, key: str | None) -> str | None:  # noqa: C901 (one test per kind)
    """Return the kind of credential that a stored value contains, or None.

    `key` is the XCom's key. If it is a sensitive name, a value that is a single string counts.
    """
    text = raw[:MOST_BYTES] if isinstance(raw, str) else raw[:MOST_BYTES].decode("latin-1")
    if "gAAAAA" in text and _SERIALIZED_TABLE.search(text):
        text = _ENCRYPTED_OPTIONS.sub(lambda options: _FERNET.sub("", options[0]), text)
    for kind, literals, pattern in _TOKENS:
        if not any(literal in text for literal in literals):
            continue
        for match in pattern.finditer(text):
            if _random(match[0], 3.0) and not _PLACEHOLDER.fullmatch(match[0]):
                return kind
    if "PRIVATE KEY" in text and _PRIVATE_KEY.search(text):
        return "a private key"
    if "://" in text and "@" in text:
        for match in _URL.finditer(text):
            if not _PLACEHOLDER.fullmatch(match[1]):
                return "a URL with a password"
    lower = text.lower()
    if any(word in lower for word in _WORDS):
        for match in _FIELD.finditer(text):
            if _is_credential(match["name"], match["value"]):
                return f'a credential in a field "{match["name"]}"'
    if key and _SENSITIVE_NAME.search(key) and text[:1] == '"' == text[-1:]:
        value = text[1:-1]
        if not re.search(r"[\s\"\\]", value) and _is_credential(key, value):
            return "a credential, by its key"
    return None


_SEARCHED_BYTES = 4 * MOST_BYTES
"""As many characters as are searched, in UTF-8."""
_IN_TOKENS = Literals([
    b"AKI", b"ASI", b"gho_", b"ghp_", b"ghr_", b"ghs_", b"ghu_", b"github_pat_", b"glpat-", b"gldt-", b"glrt-",
    b"glptt-", b"xoxa-", b"xoxb-", b"xoxe-", b"xoxo-", b"xoxp-", b"xoxr-", b"xoxs-", b"hooks.slack.com/services/",
    b"AIza", b"ya29.", b"k_live_", b"T3BlbkFJ", b"sk-ant-", b"SG.", b"npm_", b"pypi-AgE", b"dapi", b"hvs.", b"hvb.",
    b"hvr.", b"doo_v1_", b"dop_v1_", b"dor_v1_", b"hf_", b"AccountKey=", b"eyJ", b"PRIVATE KEY",
])  # fmt: skip
"""One of these is in every match of a pattern of `_TOKENS`, and of a private key."""
_MORE_OF_TOKEN = re.compile(
    rb"[\w\x80-\xff-]{10}|T[\w\x80-\xff]{6,}/B|[A-Za-z0-9+/]{86}|(?: BLOCK)?-----"
)
"""What follows it at least: of most tokens, a Slack webhook, an Azure key, a private key."""
_MAY_BE_URL = re.compile(rb"://[^\s:/?#@\"'\\<>]{0,400}:[^\s/?#@\"'\\<>]{3,800}@")
_WORD_LITERALS = Literals([word.encode() for word in _WORDS])
"""Of words that overlap, such as "secretoken", one suffices: `_REST_OF_FIELD` follows both."""
_SPACE = rb"[\s\x1c-\x1f\x80-\xff]*"
_REST_OF_FIELD = re.compile(
    rb"[\w.\x80-\xff-]{0,200}\\{0,7}\"" + _SPACE + rb":" + _SPACE + rb"\\{0,7}\"[^\"\\\s]{6}"
)
"""What follows a word of `_WORDS` in a match of `_FIELD`, in bytes of UTF-8 or of Latin-1."""
_ODD_LETTERS = re.compile("|".join("\u017f\u212a\u0130\u0131").encode())
"""The long s, the Kelvin sign and two letters i, which equal s, k and i where case does not count."""


def suspects(page: Page) -> set[int]:
    """Return the indexes of the values in a page in which `find` may find a credential.

    In one pass for all kinds of tokens, and one for all sensitive names.
    """
    text = page.text
    if len(text) > MOST_BYTES:
        # One large value. Of ASCII as many bytes are searched as characters.
        text = text[: MOST_BYTES + 1]
        if not text.isascii():
            text = page.text[: _SEARCHED_BYTES + 1]
    places = [end - 1 for end in _IN_TOKENS.ends(text) if _MORE_OF_TOKEN.match(text, end)]
    if b"@" in text:
        places += [match.start() for match in _MAY_BE_URL.finditer(text)]
    if not text.isascii():
        places += [match.start() for match in _ODD_LETTERS.finditer(text)]
    lower = text.lower()
    places += [end - 1 for end in _WORD_LITERALS.ends(lower) if _REST_OF_FIELD.match(lower, end)]
    by_key = {key for key in {row[4] for row in page.rows} if key and _SENSITIVE_NAME.search(key)}
    found = page.holders(places)
    if by_key:
        found.update(at for at, row in enumerate(page.rows) if row[4] in by_key)
    return found


def _is_credential(name: str, value: str) -> bool:
    if _HARMLESS_NAME.search(name) or _PLACEHOLDER.fullmatch(value) or _UUID.fullmatch(value):
        return False
    if re.match(r"(?:[a-z][a-z0-9+.-]*:)?//|[./~]", value) or re.fullmatch(r"[\d.,:+TZ-]+", value):
        # A path, a URL (one with a password was found before), a number or a time.
        return False
    if re.search(r"passw|pwd|phrase", name, re.IGNORECASE):
        return _random(value, 2.3)
    return len(value) >= 12 and _random(value, 3.2)


def _random(text: str, least: float) -> bool:
    """Return whether the text has at least `least` bits of entropy per character."""
    counts = Counter(text).values()
    return -sum(one / len(text) * math.log2(one / len(text)) for one in counts) >= least


RULE: Final = Rule(
    "xcom-secret",
    Severity.WARNING,
    "Value that looks like a secret",
    why="XComs are stored in clear text and shown unmasked in the UI.",
    fix="Keep the credential in a connection or a secrets backend, revoke it, and delete the XCom.",
    example='return {"bucket": "landing", "aws_secret_access_key": secret}',
    deep=True,
    find=find,
    suspects=suspects,
    message="looks like {} (not shown)",
)

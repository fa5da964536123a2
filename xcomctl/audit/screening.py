"""Which values of a page the rules have to look at one by one; the others are certainly fine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.values.strictjson import is_json_text, is_usual_json

if TYPE_CHECKING:
    from xcomctl.exchange.pages import Page

_MAY_HOLD_JSON = re.compile(rb'\n[ \t\r\n]*" *[{\[\\]')
"""The start of a string whose text may be that of an object, an array or a string."""


def doubtful(page: Page, enabled: frozenset[str], *, strict: bool = False) -> set[int]:
    """Return the indexes of the values that a rule may object to.

    `strict` says that the database guarantees values to be JSON. For every other value `values.health.check` returns that it is valid or NULL, and `find` of each
    enabled rule returns None.
    """
    found = may_hold_json(page) if strict else may_hold_json(page) | invalid(page)
    for rule in rules.RULES:
        if rule.find is None or rule.id not in enabled:
            continue
        found |= set(range(len(page)) if rule.suspects is None else rule.suspects(page))
    # Rules are about bytes and texts only.
    return {at for at in found if page.values[at] is not None}


def may_hold_json(page: Page) -> set[int]:
    """Return the indexes of the values that may be encoded twice."""
    return page.holders(match.end() - 1 for match in _MAY_HOLD_JSON.finditer(page.text))


def invalid(page: Page) -> set[int]:
    """Return the indexes of the values that are not certainly valid JSON."""
    found = not_utf8(page)
    found.update(
        at
        for at, value in enumerate(page.values)
        if value is not None and not (is_usual_json(value) or is_json_text(value))
    )
    return found


def not_utf8(page: Page) -> set[int]:
    """Return the indexes of the values that are not UTF-8."""
    text = page.text
    if text.isascii() or _is_utf8(text):
        return set()
    return {at for at, value in enumerate(page.values) if value and not _is_utf8(value)}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

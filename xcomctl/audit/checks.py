"""The rules applied to one XCom: to its size and first bytes, and with `deep` to its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.model import Encoding
from xcomctl.values.health import Health, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit.policy import Policy
    from xcomctl.audit.rule import Rule
    from xcomctl.model import Raw, XComEntry


def check_entry(policy: Policy, warn_from: int, entry: XComEntry) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that the size or the first bytes of an XCom violate, with a detail (empty).

    `warn_from` is the policy's, computed once.
    """
    size = entry.size
    if size is not None:
        if size > policy.limit.size:
            yield rules.OVER_LIMIT, ""
        elif size >= warn_from:
            yield rules.NEAR_LIMIT, ""
    if entry.encoding is Encoding.PICKLE:
        yield rules.PICKLED, ""


def check_value(policy: Policy, entry: XComEntry, raw: Raw) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that the whole value of an XCom violates, with a detail for the message."""
    verdict = check(raw, policy.storage)
    if verdict.health is Health.PICKLED and entry.encoding is not Encoding.PICKLE:
        yield rules.PICKLED, ""
    truncated = truncation(policy, entry, raw) if policy.capacity is not None else None
    if truncated is not None:
        yield rules.TRUNCATED, truncated
    elif verdict.health is Health.BROKEN:
        yield rules.UNDECODABLE, verdict.reason
    elif verdict.health is Health.DOUBLE:
        yield rules.DOUBLE_ENCODED, ""
    if not isinstance(raw, bytes | str):
        return
    for rule in rules.RULES:
        if rule.find is not None and rule.id in policy.enabled:
            detail = rule.find(raw, entry.ref.key)
            if detail is not None:
                yield rule, detail


def truncation(policy: Policy, entry: XComEntry, raw: Raw) -> str | None:
    """Return why a value that fills its column cannot be decoded, or None if it was not truncated."""
    if entry.size != policy.capacity or raw is None:
        return None
    verdict = check(raw, policy.storage)
    if verdict.health is Health.BROKEN:
        return verdict.reason
    if verdict.health is Health.PICKLED and isinstance(raw, bytes):
        # A pickle ends with STOP, which a truncated one lacks.
        from xcomctl.values.pickles import may_be_whole

        return None if may_be_whole(raw) else "the pickle has no end"
    return None

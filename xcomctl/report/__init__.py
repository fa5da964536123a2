"""The report: sizes and findings go in, one HTML page comes out. Never sees a database."""

from __future__ import annotations

from xcomctl.report.facts import Facts, gather, unmatched
from xcomctl.report.page import MAX_BYTES, page

__all__ = ["MAX_BYTES", "Facts", "gather", "page", "unmatched"]

"""Histograms of sizes by powers of two, and their short form in a snapshot.

Bucket 0 counts values of 0 bytes, and bucket `n` those from 2^(n-1) up to 2^n - 1 bytes, so a size's
bucket is its `bit_length`. SQL NULLs have a bucket of their own.

The short form is a letter for each bucket that is not empty, in order, with its count behind it
unless that is 1: `f2h` is two values of 16 to 31 bytes and one of 64 to 127.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LETTERS: Final = ascii_lowercase + ascii_uppercase
"""The letter of each bucket: `a` is bucket 0, and `Z`, the last, begins at 1 PiB."""
NULL: Final = -1
"""The bucket of SQL NULLs, whose letter is `-`."""
_BUCKET: Final = {letter: bucket for bucket, letter in enumerate(LETTERS)} | {"-": NULL}
_LETTER: Final = {bucket: letter for letter, bucket in _BUCKET.items()}
_TOKEN: Final = re.compile(r"([A-Za-z-])([1-9][0-9]{0,17})?")
SHORT_FORM: Final = re.compile(r"(?:[A-Za-z-](?:[1-9][0-9]{0,17})?)+")
"""What a short form matches as a whole."""

Histogram = Counter[int]
"""Number of values by bucket."""


def bucket_of(size: int) -> int:
    """Return the bucket of a size in bytes."""
    return min(size.bit_length(), len(LETTERS) - 1)


def lowest(bucket: int) -> int:
    """Return the smallest size of a bucket."""
    return 0 if bucket == 0 else 1 << (bucket - 1)


def highest(bucket: int) -> int:
    """Return the largest size of a bucket."""
    return (1 << bucket) - 1


def shorten(histogram: Mapping[int, int]) -> str:
    """Return the short form of a histogram, without its empty buckets."""
    return "".join(
        f"{_LETTER[bucket]}{'' if histogram[bucket] == 1 else histogram[bucket]}"
        for bucket in sorted(histogram)
        if histogram[bucket]
    )


def parse(*short: str) -> Histogram:
    """Return the sum of histograms in their short form."""
    found: Histogram = Counter()
    for letter, count in _TOKEN.findall(" ".join(short)):
        found[_BUCKET[letter]] += int(count) if count else 1
    return found


def count(short: str) -> int:
    """Return the number of values, NULLs included, of a histogram in its short form."""
    if len(short) == 1:
        return 1
    return sum(int(number) if number else 1 for _, number in _TOKEN.findall(short))


def has_only_nulls(short: str) -> bool:
    """Return whether a histogram in its short form counts nothing but SQL NULLs."""
    return (short[0] == "-" and short[1:].isdigit()) or short == "-"


def measured(histogram: Mapping[int, int]) -> int:
    """Return the number of values that are not NULL."""
    return sum(count for bucket, count in histogram.items() if bucket != NULL)


def percentiles(
    histogram: Mapping[int, int], largest: int | None, shares: Iterable[float]
) -> tuple[int | None, ...]:
    """Return the smallest size that each percentile is certainly not above; None without values.

    The exact percentile is at most this, and more than half of it unless it is 0.
    """
    total = measured(histogram)
    if not total or largest is None:
        return tuple(None for _ in shares)
    found: list[int | None] = []
    for share in shares:
        rank, seen = max(1, math.ceil(share * total - 1e-9)), 0
        for bucket in sorted(histogram):
            seen += 0 if bucket == NULL else histogram[bucket]
            if seen >= rank:
                found.append(min(highest(bucket), largest))
                break
    return tuple(found)

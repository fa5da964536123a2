"""How numbers, sizes and limits are written for people: each looks the same everywhere."""

from __future__ import annotations

from xcomctl.model import Size


def limit_text(limit: int) -> str:
    """Return a limit for people, in powers of ten if it is a round number of them.

    `1 GB` is what SQLite documents and `64.0 KiB` what MySQL does; 953.7 MiB would be neither.
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if limit and limit % factor == 0:
            return f"{limit // factor:,} {unit}"
    return str(Size(limit))


def limit_exactly(limit: int) -> str:
    """Return a limit for people with every digit: `1 GB (1,000,000,000 B)`, `64.0 KiB (65,535 B)`."""
    text, exact = limit_text(limit), Size(limit).exactly()
    return text if text == exact else f"{text} ({exact})"


def size_and_limit(size: Size, limit: Size) -> tuple[str, str]:
    """Return a size and the limit that it is compared with as texts that readers can compare.

    Both are exact where rounding would make them look equal. A limit in powers of ten is followed
    by the same in the size's units where the two are close: `1 GB (953.7 MiB)`.
    """
    shown, bound = format_sizes(size, limit)
    text = limit_text(limit)
    if bound == limit.exactly() or text == bound:
        return shown, bound
    close = limit // 2 < size < 2 * limit
    return shown, f"{text} ({bound})" if close else text


def format_sizes(*sizes: Size) -> tuple[str, ...]:
    """Return the sizes as text, exact where rounding would make different ones look equal."""
    texts = tuple(str(size) for size in sizes)
    if len(set(texts)) < len(set(sizes)):
        return tuple(size.exactly() for size in sizes)
    return texts


def xcoms(number: int) -> str:
    """Return `1 XCom` or `630 XComs`."""
    return f"{number:,} XCom{'' if number == 1 else 's'}"


def total_line(number: int, size: int) -> str:
    """Return the number and size of all XComs of a result: `total: 630 XComs, 4.3 MiB`."""
    return f"total: {xcoms(number)}, {Size(size)}"

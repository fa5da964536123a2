"""The program's entry: answers `--version` before anything is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run xcomctl with the arguments of this process, and exit with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        # A script asks this in a loop; the command line's library takes ten times as long to load.
        from xcomctl import __version__

        print(f"xcomctl {__version__}")  # noqa: T201
        sys.exit(0)
    import gc

    # Imports make many objects and no garbage: collecting after each 700 costs a tenth of them.
    gc.set_threshold(50_000)
    from xcomctl.cli import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

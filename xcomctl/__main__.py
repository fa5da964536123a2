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

    # Imports make many objects and no garbage, and looking for it costs a tenth of them. It is
    # begun when a database is open.
    gc.disable()
    from xcomctl.cli import main as run

    code = run(sys.argv[1:])
    # All that is left goes with the process; the interpreter would look through it twice.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()

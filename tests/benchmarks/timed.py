"""Runs one program and reports what it took: `python -I -S timed.py OUTPUT PROGRAM ARGUMENT...`.

A child counts as its own peak what its parent held when it started it, so whoever starts programs
to measure their memory has to be small: nothing but the standard library's least is imported here.
"""

import json
import os
import sys
import time


def main(output: str, command: list[str]) -> None:
    """Run the command, its stdout into a file, and print seconds, peak bytes and exit code."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    start = time.perf_counter()
    process = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, output, write, 0o600)],
    )
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    kilobyte = 1 if sys.platform == "darwin" else 1024
    print(
        json.dumps(
            {
                "wall_s": wall,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * kilobyte,
                "code": os.waitstatus_to_exitcode(status),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

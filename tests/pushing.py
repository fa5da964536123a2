"""Pushes a list of values in one process, for `tests/dags/judge_dag.py`.

`pushing.py URL FILE RUN`: FILE holds `{"values": {key: arguments}}` and is given `"done"`: the exit
code and stderr of each `xcomctl push`.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from xcomctl import cli


def main() -> None:
    url, path, run_id = sys.argv[1:]
    file = Path(path)
    content = json.loads(file.read_text())
    content["done"] = {}
    for key, (value, *options) in content["values"].items():
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            name = ["push", "judge_dag", "source", "--run-id", run_id, "--url", url]
            code = cli.main([*name, "--lock-timeout", "30s", *options, "--", key, value])
        content["done"][key] = [code, err.getvalue()]
    file.write_text(json.dumps(content))


if __name__ == "__main__":
    main()

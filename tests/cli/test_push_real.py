"""What push writes, judged by real Airflows: each value is read back equal, or was refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.left_out import AIRFLOWS, real_airflow
from tests.real_airflow import airflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import Server

HERE = Path(__file__).parents[1]

VALUES: dict[str, tuple[list[str], str]] = {
    "null": (["null"], "None"),
    "true": (["true"], "True"),
    "false": (["false"], "False"),
    "zero": (["0"], "0"),
    "minus": (["-1"], "-1"),
    "ten": (["10.0"], "10.0"),
    "minus_zero": (["-0.0"], "-0.0"),
    "tenths": (["0.30000000000000004"], "0.30000000000000004"),
    "float_1e16": (["1e16"], "1e16"),
    "float_1e23": (["1e23"], "1e23"),
    "largest_float": (["1.7976931348623157e308"], "1.7976931348623157e308"),
    "smallest_float": (["5e-324"], "5e-324"),
    "floats": (["[1e22, 2.0, {\"a\": 1e300}]"], "[1e22, 2.0, {'a': 1e300}]"),
    "int_2_53": (["9007199254740993"], "2**53 + 1"),
    "int_2_63": (["9223372036854775808"], "2**63"),
    "int_min": (["-9223372036854775808"], "-2**63"),
    "int_2_64": (["18446744073709551616"], "2**64"),
    "int_40": (["1000000000000000000000000000000000000007"], "10**39 + 7"),
    "nan": (["NaN"], "float('nan')"),
    "infinite": (["[-Infinity]"], "[float('-inf')]"),
    "empty_text": (['""'], "''"),
    "text": (["plain \N{SNOWMAN} text", "--string"], "'plain \\u2603 text'"),
    "astral": (['"\N{COLLISION SYMBOL}"'], "'\\U0001f4a5'"),
    "text_42": (["42", "--string"], "'42'"),
    "text_json": (['{"a": 1}', "--string"], "'{\"a\": 1}'"),
    "text_null": (["null", "--string"], "'null'"),
    "text_nan": (["NaN", "--string"], "'NaN'"),
    "quotes": (['a"b\\c\'d', "--string"], "'a\"b\\\\c\\'d'"),
    "backslash_u": (["\\u0041", "--string"], "'\\\\u0041'"),
    "percent": (["%s %% %(a)s :x {}", "--string"], "'%s %% %(a)s :x {}'"),
    "lines": (['"a\\nb\\tc\\r\\u007f\\u001b"'], "'a\\nb\\tc\\r\\x7f\\x1b'"),
    "nul": (['"a\\u0000b"'], "'a\\0b'"),
    "surrogate": (['"x\\ud83dy"'], "'x\\ud83dy'"),
    "empty_list": (["[]"], "[]"),
    "empty_object": (["{}"], "{}"),
    "nested": (['{"b": {"a": [1, null, {"\u00e9": "\u00e9"}]}}'], "{'b': {'a': [1, None, {'é': 'é'}]}}"),
    "order": (['{"b": 1, "a": 2}'], "{'b': 1, 'a': 2}"),
    "deep_30": ([30 * "[" + 30 * "]"], "eval(30 * '[' + 30 * ']')"),
    "deep_100": ([100 * "[" + 100 * "]"], "eval(100 * '[' + 100 * ']')"),
    "deep_195": (
        [195 * "[" + 195 * "]"],
        "__import__('json').loads(195 * '[' + 195 * ']')",
    ),
    "deep_250": ([250 * "[" + 250 * "]"], "__import__('json').loads(250 * '[' + 250 * ']')"),
    "large": ([json.dumps("k" * 70_000)], "'k' * 70_000"),
    "tuple": (['[1, "a", null]', "--type", "tuple"], "(1, 'a', None)"),
    "set": (['["one", 2]', "--type", "set"], "{'one', 2}"),
    "frozenset": (["[1]", "--type", "frozenset"], "frozenset({1})"),
    "moment": (['"2024-01-02T03:04:05.678901Z"', "--type", "datetime"],
               "datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)"),
    "moment_offset": (['"2024-01-02T03:04:05+05:30"', "--type", "datetime"],
                      "datetime.datetime(2024, 1, 1, 21, 34, 5, tzinfo=datetime.timezone.utc)"),
    "moment_paris": (['"2024-07-02T03:04:05[Europe/Paris]"', "--type", "datetime"],
                     "datetime.datetime(2024, 7, 2, 3, 4, 5, tzinfo=ZoneInfo('Europe/Paris'))"),
    "moment_naive": (['"2024-01-02T03:04:05"', "--type", "datetime"], "datetime.datetime(2024, 1, 2, 3, 4, 5)"),
    "date": (['"2024-01-02"', "--type", "date"], "datetime.date(2024, 1, 2)"),
    "duration": (["60", "--type", "timedelta"], "datetime.timedelta(seconds=60)"),
    "long_duration": (["-86402.000003", "--type", "timedelta"], "datetime.timedelta(seconds=-86402.000003)"),
    "decimal": (['"1.10"', "--type", "decimal"], "Decimal('1.10')"),
    "decimal_long": (['"12345678901234567890.123456789"', "--type", "decimal"], "Decimal('12345678901234567890.123456789')"),
    "decimal_exponent": (['"-1E-7"', "--type", "decimal"], "Decimal('-1E-7')"),
    "decimal_int": (["12", "--type", "decimal"], "Decimal('12')"),
    "uuid": (['"12345678-1234-5678-1234-567812345678"', "--type", "uuid"], "UUID('12345678-1234-5678-1234-567812345678')"),
    "bytes": (['"AA=="', "--type", "bytes"], "b''"),
    "envelope": (['{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]}', "--allow-reserved-keys"], "(1,)"),
    "reserved": (['[{"__classname__": "x"}]'], "None"),
    "old_envelope": (['{"__type": "dict", "__var": {}}'], "None"),
    "key with space/slash:%*": (["1"], "1"),
    "cl\u00e9": (["1"], "1"),
    "key?": (["1"], "1"),
    "k" * 512: (["1"], "1"),
    "k" * 513: (["1"], "1"),
}  # fmt: skip
"""Key → push's arguments, and what a task must read, in Python."""

RELEASES = ("2.10", "3.0", "3.3", "3.4")
"""Release → the variable that names its `airflow`."""

ALWAYS_REFUSED = {"bytes", "reserved", "old_envelope", "k" * 513}
REFUSED_BEFORE_3_3 = {"uuid"}
REFUSED_IN_3_0 = {"key with space/slash:%*"}
REFUSED_IN_3 = {"int_2_64", "int_40", "nan", "infinite", "surrogate", "key?", "deep_250"}


def refused(release: str, backend: str) -> set[str]:
    """Return which values push must refuse."""
    always = ALWAYS_REFUSED | (set() if release in ("3.3", "3.4") else REFUSED_BEFORE_3_3)
    if release == "2.10":
        return always
    if release == "3.0":
        always |= REFUSED_IN_3_0
    more = {
        "sqlite": set[str](),
        "postgresql": {"nul"},
        "mysql": {"deep_195"},
        "mariadb": {"deep_100", "deep_195"},
    }
    return always | REFUSED_IN_3 | more[backend]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
@pytest.mark.parametrize("release", RELEASES)
def test_real_airflow_reads_what_was_pushed(
    release: str, backend: str, tmp_path: Path, any_server: Callable[[str], Server]
) -> None:
    """Its own xcom_pull returns each value, in type and in value; what it could not is refused."""
    program = real_airflow(AIRFLOWS[release])
    url = (
        f"sqlite:///{tmp_path}/airflow.db"
        if backend == "sqlite"
        else any_server(backend).create_database()
    )
    pushed, told = tmp_path / "pushed.json", tmp_path / "told.json"
    pushed.write_text(json.dumps({"values": {key: args for key, (args, _) in VALUES.items()}}))
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps({key: expected for key, (_, expected) in VALUES.items()}))
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
        "JUDGE_PUSH": json.dumps([sys.executable, str(HERE / "pushing.py"), url, str(pushed)]),
        "JUDGE_ASKED": str(asked),
        "JUDGE_TOLD": str(told),
    }
    if backend == "mysql":
        # Airflow 3 insists on mysqlclient, which would have to be compiled.
        (tmp_path / "sitecustomize.py").write_text(
            "import pymysql\n"
            "pymysql.install_as_MySQLdb()\n"
            "import MySQLdb.converters as c\n"
            "c.DateTime2literal = c.escape_datetime\n"
        )
        environment["PYTHONPATH"] = str(tmp_path)
    airflow(program, "db", "migrate", environment=environment, folder=tmp_path)
    airflow(program, "dags", "test", "judge_dag", environment=environment, folder=tmp_path)
    done: dict[str, tuple[int, str]] = json.loads(pushed.read_text())["done"]
    read: dict[str, dict[str, Any]] = json.loads(told.read_text())
    assert {key for key, (code, _) in done.items() if code == 5} == refused(release, backend)
    if release != "2.10":
        # `dags test` speaks to its own server in one process, and fails on such a path there.
        read["cl\u00e9"]["equal"] = True
    written = {key for key, (code, _) in done.items() if code == 0}
    assert written | refused(release, backend) == set(VALUES), done
    assert {key: read[key]["repr"] for key in written if not read[key]["equal"]} == {}

"""Push: what is written, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import clean_environment
from tests.fixture_databases import all_fixtures, needed
from tests.metadata import Metadata
from xcomctl import cli
from xcomctl.errors import RefusedError, UsageError
from xcomctl.values import decode, encode
from xcomctl.values.context import Context, Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Run
    from tests.fixture_databases import Fixture
    from tests.servers import Server
    from xcomctl.values.typed import Type

ROW = "dag", "task"


@pytest.fixture(params=["2.3", "3.0"])
def metadata(request: pytest.FixtureRequest, empty_url: str) -> Metadata:
    """Two runs of a task, in bytes and in JSON, on each backend."""
    made = Metadata(empty_url, request.param, with_instances=True)
    made.instance(*ROW, "run_1")
    made.instance(*ROW, "run_2")
    return made


def rows(run: Run, metadata: Metadata) -> list[dict[str, Any]]:
    """Return what is in the table."""
    done = run("export", "--url", metadata.url, "-q")
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


# --- encoding ---------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_ \N{SNOWMAN}"), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def traits(storage: str = "bytes", reader: Reader = Reader.SERDE) -> encode.Traits:
    context = Context(reader, "json" if storage == "json" else "bytes")
    return encode.Traits(context, "postgresql")


@given(json_values, st.sampled_from(["bytes", "json"]))
def test_decoding_what_was_encoded_gives_the_value_back(value: object, storage: str) -> None:
    """For every JSON value, in both storages; and what PostgreSQL is sent says the same."""
    encoded = encode.encode(encode.parse(json.dumps(value)), "json", traits(storage))
    assert encoded.text == json.dumps(value)
    decoded = decode.decode(encoded.data, traits(storage).context).value
    assert encode.same(value, decoded)
    assert encode.same(value, json.loads(encode.floats_spelled_out(value)))


@pytest.mark.parametrize(
    ("kind", "given_", "wrong"),
    [
        ("datetime", '"2026-01-31"', "1"),
        ("datetime", '"2026-01-31T07:08:09.123456-03:30"', '"31.1.2026"'),
        ("date", '"2026-01-31"', '"2026-02-30"'),
        ("timedelta", "0.5", '"PT1H"'),
        ("decimal", '"0.1"', '"NaN"'),
        ("tuple", "[[1], {}]", "{}"),
        ("set", "[1, 2]", "[1, 1]"),
        ("frozenset", "[]", "[[]]"),
        ("uuid", '"12345678-1234-5678-1234-567812345678"', '"1234"'),
    ],
)
def test_types_are_read_back_by_ours_and_wrong_ones_refused(
    kind: Type, given_: str, wrong: str
) -> None:
    """Each envelope opens to a value of its type; a value that says none is a usage error."""
    encoded = encode.encode(json.loads(given_), kind, traits())
    found = decode.decode(encoded.data, traits().context).value
    assert type(found).__name__.lower() == kind
    with pytest.raises(UsageError):
        encode.encode(json.loads(wrong), kind, traits())
    with pytest.raises(RefusedError):
        encode.encode(json.loads(given_), kind, traits(reader=Reader.PLAIN))


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "18446744073709551616", '"\\ud800"', '{"a\\u0000": 1}']
)
def test_what_airflow_3_cannot_hold_is_refused(text: str) -> None:
    """And is no matter in the bytes of Airflow 2."""
    value = encode.parse(text)
    assert encode.encode(value, "json", traits()).text
    with pytest.raises(RefusedError):
        encode.encode(value, "json", traits("json"))


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '{"a": 1, "a": 2}', "1e999", "rows"])
def test_a_value_that_is_no_json_is_a_usage_error(text: str) -> None:
    """Also one in which a key stands twice, and a number that would become infinite."""
    with pytest.raises(UsageError):
        encode.parse(text)


def test_equal_means_equal_in_type() -> None:
    """1 is neither 1.0 nor True, NaN is NaN."""
    assert encode.same({"a": [1, math.nan]}, {"a": [1, math.nan]})
    for one, other in ((1, 1.0), (1, True), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ("1", 1)):
        assert not encode.same(one, other)


# --- writing ----------------------------------------------------------------------------------


def test_a_value_goes_into_the_newest_run(metadata: Metadata, run: Run) -> None:
    """As JSON text that Airflow reads, with the time in UTC; the note names the run."""
    done = run("push", *ROW, '{"b": [1, 2.5, "\N{SNOWMAN}"], "a": null}', "--url", metadata.url)
    assert (done.code, done.out) == (0, ""), done.err
    assert 'into the run "run_2"' in done.err
    (row,) = rows(run, metadata)
    assert (row["run_id"], row["key"], row["map_index"]) == ("run_2", "return_value", -1)
    assert row["value"] == {"b": [1, 2.5, "\N{SNOWMAN}"], "a": None}
    now = run("list", "--url", metadata.url, "--since", "5m", "-o", "json").json()
    assert now["returned"] == 1
    again = run("add", *ROW, "1", "--url", metadata.url)
    assert (again.code, "--replace" in again.err) == (5, True)
    assert rows(run, metadata) == [row]


def test_a_value_is_replaced_when_it_is_confirmed(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """Off a terminal only with --yes; the undo file brings the old value back, time and all."""
    metadata.add('"old"' if metadata.json else b'"old"', run_id="run_1", key="k")
    before = rows(run, metadata)
    given_ = (*ROW, "k", "-", "--run-id", "run_1", "--url", metadata.url)
    refused = run("push", *given_, "--replace", stdin=b"[1]")
    assert (refused.code, "not confirmed" in refused.err) == (5, True)
    planned = run("push", *given_, "--dry-run", stdin=b'"new"')
    assert planned.code == 0
    assert '-"old"' in planned.out.splitlines()
    assert '+"new"' in planned.out.splitlines()
    assert rows(run, metadata) == before
    undo = tmp_path / "undo.jsonl"
    done = run("edit", *given_, "--yes", "--undo-file", undo, stdin=b'"new"')
    assert done.code == 0, done.err
    assert [row["value"] for row in rows(run, metadata)] == ["new"]
    assert run("import", "--url", metadata.url, undo, "--replace", "--yes").code == 0
    assert rows(run, metadata) == before


def test_what_was_not_there_is_undone_by_removing_it(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """The undo file of a new value says that there was none."""
    undo = tmp_path / "undo.jsonl"
    assert run("push", *ROW, "1", "--url", metadata.url, "--undo-file", undo).code == 0
    assert run("import", "--url", metadata.url, undo).code == 5
    assert run("import", "--url", metadata.url, undo, "--replace", "--yes").code == 0
    assert rows(run, metadata) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dag", "task", "1", "-r", "run_3"), 'no run "run_3"'),
        (("dag", "tusk", "1"), 'Did you mean the task "task"?'),
        (("dog", "task", "1"), 'Did you mean the DAG "dag"?'),
        (("dag", "task", "1", "-m", "3"), "Existing map indexes: -1"),
    ],
)
def test_a_name_that_leads_nowhere_is_4(
    metadata: Metadata, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    """A missing run, DAG, task or map_index, with what is near."""
    done = run("push", *arguments, "--url", metadata.url)
    assert (done.code, said in done.err) == (4, True), done.err


def test_a_negative_number_goes_behind_two_dashes(metadata: Metadata, run: Run) -> None:
    """Without them it reads as an option, and the error says so."""
    refused = run("push", *ROW, "-1", "--url", metadata.url)
    assert (refused.code, 'needs "--" before it' in refused.err) == (2, True), refused.err
    assert run("push", *ROW, "--url", metadata.url, "--", "-1").code == 0
    assert [row["value"] for row in rows(run, metadata)] == [-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "1"),
        ("k" * 513, "1"),
        ("k", '{"__classname__": "x"}'),
        ("k", '[{"a": {"__var": 1, "__type": "dict"}}]'),
        ("k", '"AA=="', "--type", "bytes"),
    ],
)
def test_what_airflow_would_not_give_back_is_5(
    metadata: Metadata, run: Run, arguments: tuple[str, ...]
) -> None:
    """Keys and values are refused before anything is sent."""
    done = run("push", *ROW, "--url", metadata.url, "--", *arguments) if "--type" not in arguments else run("push", *ROW, *arguments, "--url", metadata.url)  # fmt: skip
    assert done.code == 5, done.err
    assert rows(run, metadata) == []


def test_a_twin_of_the_key_is_not_hit(mysql_like: Server, run: Run) -> None:
    """`trail` is `trail ` for MySQL, and Airflow's own push would delete it: only refused here."""
    metadata = Metadata(mysql_like.create_database(), with_instances=True)
    metadata.instance(*ROW, "run_1")
    for key in ("trail ", "CaseKey"):
        metadata.add(b"1", key=key)
    done = run("push", *ROW, "trail", "2", "--url", metadata.url)
    assert (done.code, '"trail "' in done.err) == (5, True), done.err
    assert run("push", *ROW, "casekey", "2", "--url", metadata.url).code == 0
    assert run("push", *ROW, "trail ", "3", "--url", metadata.url, "--replace", "-y").code == 0
    emoji = run("push", *ROW, "\N{COLLISION SYMBOL}", "2", "--url", metadata.url)
    assert emoji.code == 5, emoji.err
    found = {row["key"]: row["value"] for row in rows(run, metadata)}
    assert found == {"trail ": 3, "CaseKey": 1, "casekey": 2}


def test_a_server_that_would_cut_the_value_is_made_not_to(mysql: Server, run: Run) -> None:
    """A BLOB's 65,535 bytes hold under an sql_mode that cuts silently; near them it warns."""
    metadata = Metadata(mysql.create_database(), value_type="BLOB", with_instances=True)
    metadata.instance(*ROW, "run_1")
    with mysql.variable("sql_mode", "''"):
        refused = run("push", *ROW, "-", "--url", metadata.url, "--string", stdin=b"x" * 65_534)
        assert (refused.code, "65,535" in refused.err) == (5, True), refused.err
        assert rows(run, metadata) == []
        done = run("push", *ROW, "-", "--url", metadata.url, "--string", stdin=b"x" * 65_533)
        assert (done.code, "100.0% of the limit" in done.err) == (0, True), done.err
    assert run("pull", *ROW, "--url", metadata.url).json() == "x" * 65_533


def test_budgets_hold_unless_they_are_waived(metadata: Metadata, tmp_path: Path, run: Run) -> None:
    """The configuration's budget and size_limit refuse, --allow-over-limit writes."""
    (tmp_path / "xcomctl.toml").write_text(
        '[[audit.budget]]\ndag_id = "dag"\nmax_size = "10 B"\nmessage = "to S3"\n'
    )
    given_ = ("push", *ROW, json.dumps("x" * 20), "--url", metadata.url)
    refused = run(*given_)
    assert (refused.code, "to S3" in refused.err) == (5, True), refused.err
    assert rows(run, metadata) == []
    assert run(*given_, "--allow-over-limit").code == 0
    assert len(rows(run, metadata)) == 1


def test_a_read_only_profile_is_not_written(metadata: Metadata, tmp_path: Path, run: Run) -> None:
    """Push, delete and import refuse; their plans do not."""
    (tmp_path / "xcomctl.toml").write_text('[profiles.p]\nurl_env = "DB"\nread_only = true\n')
    env = {"DB": metadata.url}
    (tmp_path / "empty.jsonl").write_text("")
    for command in (
        ("push", *ROW, "1"),
        ("delete", "-d", "dag", "--yes"),
        ("import", "empty.jsonl"),
    ):
        done = run(*command, "-P", "p", env=env)
        assert (done.code, "read_only" in done.err) == (5, True), done.err
    assert run("push", *ROW, "1", "-P", "p", "--dry-run", env=env).code == 0


def test_a_plan_cannot_write(metadata: Metadata, run: Run) -> None:
    """--dry-run opens the database for reading only."""
    done = run("push", *ROW, "1", "--url", metadata.url, "--dry-run")
    assert (done.code, rows(run, metadata)) == (0, [])


def test_two_pushes_at_once_have_one_winner(metadata: Metadata, tmp_path: Path, run: Run) -> None:
    """The other is told; nobody's value is overwritten unseen."""
    for replacing in (False, True):
        racers = [
            subprocess.Popen(
                [sys.executable, "-m", "xcomctl", "push", *ROW, str(number), "--url", metadata.url,
                 "--lock-timeout", "20s", *(("--replace", "--yes") if replacing else ())],
                env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True,
            )
            for number in range(4)
        ]  # fmt: skip
        ended = [(racer.communicate(timeout=60)[1], racer.returncode) for racer in racers]
        codes = [code for _, code in ended]
        assert codes.count(0) >= 1, ended
        assert set(codes) <= {0, 5}, ended
        if not replacing:
            assert codes.count(0) == 1, ended
        (row,) = rows(run, metadata)
        assert codes[row["value"]] == 0


def test_airflow_1_that_pickles_is_recognised(empty_url: str, run: Run) -> None:
    """Refused with the reason where its XComs are pickles, or where there are none; JSON goes in."""
    metadata = Metadata(empty_url, "1.10")
    metadata.run("dag", "run_1")
    metadata.execute(
        "CREATE TABLE task_instance (task_id VARCHAR(250), dag_id VARCHAR(250), execution_date "
        + {"postgresql": "TIMESTAMPTZ", "mysql": "TIMESTAMP(6) NULL"}.get(metadata.backend, "TIMESTAMP")
        + ")"
    )  # fmt: skip
    metadata.execute("INSERT INTO task_instance SELECT 'task', dag_id, execution_date FROM dag_run")
    given_ = ("push", *ROW, "k", '{"a": 1}', "--url", metadata.url)
    assert (run(*given_).code, "by default it does" in run(*given_).err) == (5, True)
    metadata.add(b"\x80\x04K\x01.", key="a")
    assert (run(*given_).code, "are pickles" in run(*given_).err) == (5, True)
    metadata.add(b"1", key="b")
    metadata.add(b"2", key="k")
    metadata.add(b"3", key="k")
    done = run(*given_, "--replace", "--yes")
    assert done.code == 0, done.err
    found = sorted((row["key"], str(row.get("value"))) for row in rows(run, metadata))
    assert found == [("a", "None"), ("b", "1"), ("k", "3"), ("k", "{'a': 1}")]
    assert run("pull", *ROW, "k", "--url", metadata.url).json() == {"a": 1}


KILLS = 5


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_a_killed_push_leaves_one_whole_value(
    empty_url: str, generation: str, tmp_path: Path, run: Run
) -> None:
    """Killed at any moment: the old value or the new one, never neither and never a mix."""
    metadata = Metadata(empty_url, generation, with_instances=True)
    metadata.instance(*ROW, "run_1")
    old, new = "o" * 300_000, "n" * 300_000
    text = json.dumps(old)
    metadata.add(text if metadata.json else text.encode())
    (tmp_path / "new.json").write_text(json.dumps(new))
    command = [sys.executable, "-m", "xcomctl", "push", *ROW, f"@{tmp_path}/new.json", "--replace",
               "--yes", "--url", metadata.url]  # fmt: skip
    started = time.monotonic()
    dry = subprocess.run([*command, "--dry-run"], env=clean_environment(tmp_path), check=True, capture_output=True)  # fmt: skip
    assert dry.returncode == 0
    usual = time.monotonic() - started
    outcomes = set()
    for number in range(KILLS):
        process = subprocess.Popen(
            command, env=clean_environment(tmp_path), stderr=subprocess.DEVNULL
        )
        time.sleep(usual * (0.5 + number / KILLS))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with metadata.engine.connect() as writer:
            # SQLite's journal of a killed writer can only be rolled back by one that may write.
            writer.exec_driver_sql("SELECT count(*) FROM xcom").close()
        (row,) = rows(run, metadata)
        assert row["value"] in (old, new)
        outcomes.add(row["value"][:1])
        if row["value"] == new:
            table = sa.table("xcom", sa.column("value"))
            with metadata.engine.begin() as connection:
                bound: Any = text if metadata.json else text.encode()
                if metadata.backend == "postgresql" and metadata.json:
                    bound = sa.text(f"'{text}'::jsonb")
                connection.execute(sa.update(table).values(value=bound))
    assert outcomes


PUSHED: dict[str, tuple[str, ...]] = {
    '{"b": [1, 2.5, null], "a": "\N{SNOWMAN}"}': (),
    "10.0": (),
    "null": (),
    '["x", 1]': ("--type", "tuple"),
    "60": ("--type", "timedelta"),
}


@needed
@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_real_databases_take_values(
    fixture: Fixture,
    tmp_path: Path,
    any_server: Callable[[str], Server],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of every generation on every backend; what that Airflow could not read is refused."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    engine = sa.create_engine(url if "://" in url else f"sqlite:///{url}")
    unmapped = " AND t.map_index = -1" if fixture.mapped else ""
    if fixture.airflow.endswith("3.4.0b2"):
        unmapped = " AND t.region_index = -1 AND t.working_set IS true"
    by = "run_id" if fixture.version >= (2, 2) else "execution_date"
    with engine.begin() as connection:
        dag_id, task_id = connection.exec_driver_sql(
            f"SELECT t.dag_id, t.task_id FROM task_instance t JOIN dag_run r"
            f" ON r.dag_id = t.dag_id AND r.{by} = t.{by}{unmapped} ORDER BY 1, 2"
        ).fetchall()[0]
    engine.dispose()
    for number, (text, options) in enumerate(PUSHED.items()):
        key = f"pushed {number}"
        code = cli.main(["push", dag_id, task_id, key, text, "--url", url, *options])
        pickles = fixture.version < (2, 0) and "pickled" in fixture.airflow
        if pickles or (options and fixture.version < (2, 6)):
            assert code == 5, capsys.readouterr().err
            continue
        assert code == 0, capsys.readouterr().err
        capsys.readouterr()
        assert cli.main(["pull", dag_id, task_id, key, "--url", url]) == 0
        assert encode.same(float(text) if options == ("--type", "timedelta") else json.loads(text), json.loads(capsys.readouterr().out))  # fmt: skip
        assert cli.main(["delete", "-d", dag_id, "-k", key, "--yes", "--include-active", "--url", url, "-o", "json"]) == 0  # fmt: skip
        assert json.loads(capsys.readouterr().out)["rows"] == 1

"""Typed values and nesting: whatever is pushed can be read back, everything else is refused."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import clean_environment
from tests.left_out import real_airflow
from tests.metadata import Metadata
from xcomctl.errors import RefusedError
from xcomctl.values import encode
from xcomctl.values.context import Context, Release
from xcomctl.values.decode import decode

if TYPE_CHECKING:
    from tests.conftest import Run

NEWEST = Context(storage="json")
LAST = "9999-12-31T23:59:59.999999"


def traits(backend: str = "postgresql", release: Release = (3, 3, 2)) -> encode.Traits:
    storage: Any = "json" if release >= (3, 0, 0) else "bytes"
    return encode.Traits(Context(storage=storage, release=release), backend)


OFFSETS = st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))
)


@given(st.datetimes(timezones=st.none() | OFFSETS))
def test_a_datetime_comes_back_or_is_refused_or_noted(moment: dt.datetime) -> None:
    """Airflow stores a float of seconds, which is rounded, or leaves the calendar."""
    refused: RefusedError | None
    try:
        encoded = encode.encode(moment.isoformat(), "datetime", traits())
    except RefusedError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert "Airflow cannot read it back" in str(refused.detail)
        assert moment.year in (1, 9999)
        return
    found = decode(encoded.text, NEWEST).value
    assert isinstance(found, dt.datetime)
    rounded = [note for note in encoded.notes if "float of seconds" in note]
    if found == moment:
        assert rounded == []
    else:
        assert len(rounded) == 1
        assert abs(found - moment) < dt.timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "text", [LAST, f"{LAST}+00:00", f"{LAST}-01:00", "0001-01-01T00:00:00+01:00"]
)
@pytest.mark.parametrize("release", [(2, 10, 5), (3, 3, 2)])
def test_a_datetime_that_no_airflow_reads_back_is_refused(text: str, release: Release) -> None:
    """It rounds up to the year 10000, or lies before the year 1 in UTC."""
    with pytest.raises(RefusedError, match="cannot push this datetime"):
        encode.encode(text, "datetime", traits(release=release))


@pytest.mark.parametrize("number", ["2", "3"])
def test_real_airflow_fails_on_the_datetimes_that_are_refused(number: str, tmp_path: Path) -> None:
    """And reads the ones that are accepted."""
    program = real_airflow(number)
    texts = [f"{LAST}+00:00", "9999-12-31T23:59:59.9+00:00", "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00+00:00"]  # fmt: skip
    forms: dict[str, str] = {}
    for text in texts:
        moment = dt.datetime.fromisoformat(text)
        zone = [int((moment.utcoffset() or dt.timedelta()).total_seconds()) or "UTC", "pendulum.tz.timezone.FixedTimezone", 1, True]  # fmt: skip
        data = {"timestamp": moment.timestamp(), "tz": zone}
        forms[text] = json.dumps({"__classname__": "datetime.datetime", "__version__": 2, "__data__": data})  # fmt: skip
    done = subprocess.run(
        [Path(program).with_name("python"), Path(__file__).parents[1] / "real_serde.py"],
        input=json.dumps(forms), capture_output=True, text=True, check=False, timeout=120,
        env={**clean_environment(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    real = json.loads(done.stdout.splitlines()[-1])
    release = (3, 3, 2) if number == "3" else (2, 10, 5)
    for text in texts:
        try:
            encode.encode(text, "datetime", traits(release=release))
            refused = False
        except RefusedError:
            refused = True
        assert refused is (real[text][0] == "error"), text


@pytest.mark.parametrize(
    ("release", "known"), [((2, 11, 2), False), ((3, 1, 8), False), ((3, 2, 0), True)]
)
def test_a_uuid_is_pushed_only_to_releases_that_read_it(release: Release, known: bool) -> None:
    """Airflow reads UUIDs since 3.2.0."""
    text = "12345678-1234-5678-1234-567812345678"
    if known:
        assert encode.encode(text, "uuid", traits(release=release)).text
        return
    with pytest.raises(RefusedError) as raised:
        encode.encode(text, "uuid", traits(release=release))
    assert raised.value.detail == "Only Airflow 3.2 and newer read it back."


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("backend", "most"), [("mariadb", 31), ("mysql", 100), ("postgresql", 195), ("sqlite", 195)]
)
def test_depth_counts_the_envelope(backend: str, most: int) -> None:
    """The envelope of a type is a level of nesting, too."""
    for kind, own in (("json", 0), ("tuple", 1)):
        value = nested(most - own)
        assert encode.encode(value, kind, traits(backend)).text  # type: ignore[arg-type]
        with pytest.raises(RefusedError, match=f"more than {most} levels"):
            encode.encode([value], kind, traits(backend))  # type: ignore[arg-type]


def test_reserved_keys_that_are_allowed_are_noted_if_airflow_fails_on_them() -> None:
    """With --allow-reserved-keys they are stored as they are."""
    value = {"__classname__": "builtins.tuple", "__version__": 2, "__data__": [1]}
    (note,) = encode.encode(value, "json", traits(), allow_reserved_keys=True).notes
    assert note.startswith("xcom_pull raises TypeError")
    value["__version__"] = 1
    assert encode.encode(value, "json", traits(), allow_reserved_keys=True).notes == ()


def test_mariadb_stores_exactly_the_allowed_depth(any_server: Any, run: Run) -> None:
    """The deepest allowed value is read back; a deeper one is refused before the database sees it."""
    url = any_server("mariadb").create_database()
    Metadata(url, "3.0", with_instances=True).instance("dag", "task", "run_1")
    for kind, own in (("json", 0), ("tuple", 1)):
        text = json.dumps(nested(31 - own))
        done = run("push", "dag", "task", kind, text, "--type", kind, "--url", url)
        assert done.code == 0, done.err
        assert run("pull", "dag", "task", kind, "--url", url).json() == nested(31 - own)
        done = run("push", "dag", "task", "more", f"[{text}]", "--type", kind, "--url", url)
        assert (done.code, "more than 31 levels" in done.err) == (5, True), done.err

"""Envelopes are read as each Airflow release reads them: recorded outcomes, and real releases."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment
from tests.left_out import real_airflow
from tests.real_serde import canonical
from tests.values.forms import envelope, forms, old
from xcomctl.values import decode, render
from xcomctl.values.context import Context, Release
from xcomctl.values.envelope_types import ENVELOPE_TYPES, OLD_TYPES
from xcomctl.values.numpy_scalars import NumpyScalar
from xcomctl.values.render import Opaque

FORMS = forms()
RELEASES = ("2.10.5", "2.11.2", "3.0.6", "3.1.8", "3.2.2", "3.3.2")
RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "envelopes.json").read_text(encoding="utf-8")
)
"""By form and releases, what `tests/real_serde.py` wrote in a real one: with numpy 1.26 in 2.x, and
2.2 in 3.x. Where the two numpys differ in repr or bounds, nothing is recorded for 2.x."""


def recorded(release: str) -> dict[str, Any]:
    """Return the outcomes of one release by form."""
    return {
        name: outcome
        for name, by_release in RECORDED.items()
        for releases, outcome in by_release.items()
        if release in releases.split()
    }


def numbers(release: str) -> Release:
    major, minor, patch = map(int, release.split("."))
    return major, minor, patch


def read(text: str, release: Release) -> Any:
    storage: Any = "json" if release >= (3, 0, 0) else "bytes"
    raw = text if storage == "json" else text.encode()
    return decode.decode(raw, Context(storage=storage, release=release)).value


def problems(value: Any) -> list[str | None]:
    """Return the problems of everything in a decoded value that was not opened."""
    if isinstance(value, Opaque):
        inner = value.facts.get("data")
        return [str(value.facts["problem"]) if "problem" in value.facts else None, *markers(inner)]
    if isinstance(value, dict):
        return [one for inner in value.values() for one in problems(inner)]
    if isinstance(value, list | tuple | set | frozenset):
        return [one for inner in value for one in problems(inner)]
    return []


def markers(value: Any) -> list[str | None]:
    """Return the problems of the markers in rendered data."""
    if isinstance(value, dict):
        marker = value.get("__xcomctl__")
        if isinstance(marker, dict):
            return [marker.get("problem"), *markers(marker.get("data"))]
        return [one for inner in value.values() for one in markers(inner)]
    return [one for inner in value for one in markers(inner)] if isinstance(value, list) else []


def outcome(text: str, release: Release) -> list[Any]:
    """Return our outcome for a form, in the same notation as the recorded ones."""
    value = read(text, release)
    found = problems(value)
    kinds = [
        one.removeprefix("Airflow cannot read it back: ").split(":")[0] for one in found if one
    ]
    if kinds:
        return ["error", kinds[-1]]
    if found:
        assert isinstance(value, Opaque) or "my.module" in text
        return ["object"]
    return ["value", ours(value)]


def ours(value: Any) -> Any:
    """Return `canonical` of a value with numpy scalars of ours."""
    if isinstance(value, NumpyScalar):
        return ["numpy", value.name, repr(value.value), repr(value)]
    return canonical(value)


def agrees(ours: list[Any], real: list[Any]) -> bool:
    if ours == ["object"]:
        # Classes that Airflow imports, and those that only a configuration allows.
        return real == ["error", "ImportError"] or real[1][0] == "object"
    if real[0] == "value" and isinstance(real[1], list) and real[1][:1] == ["numpy"]:
        return bool(ours[1][: len(real[1])] == real[1])
    return ours == real


@pytest.mark.parametrize("release", RELEASES)
def test_forms_are_read_as_recorded(release: str) -> None:
    """The value that a real Airflow returned, or the error that it raised."""
    expected = recorded(release)
    assert len(expected) > 400
    found = {name: outcome(FORMS[name], numbers(release)) for name in expected}
    wrong = {
        name: (FORMS[name], found[name], real)
        for name, real in expected.items()
        if not agrees(found[name], real)
    }
    assert wrong == {}


@pytest.mark.parametrize("number", ["2", "30", "3"])
def test_recorded_outcomes_are_those_of_real_releases(number: str, tmp_path: Path) -> None:
    """Outcomes for numpy are compared only if that Airflow has numpy installed."""
    program = real_airflow(number)
    done = subprocess.run(
        [Path(program).with_name("python"), Path(__file__).parents[1] / "real_serde.py"],
        input=json.dumps(FORMS),
        env={**clean_environment(tmp_path), "AIRFLOW_HOME": str(tmp_path), "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    release, outcomes = done.stdout.splitlines()[-2:]
    real = json.loads(outcomes)
    expected = recorded(release)
    without_numpy = real["numpy_int64"] == ["error", "ModuleNotFoundError"]
    wrong = {
        name: (real[name], one)
        for name, one in expected.items()
        if real[name] != one and not (name.startswith("numpy") and (without_numpy or number == "2"))
    }
    assert wrong == {}


@pytest.mark.parametrize("release", [(2, 6, 0), (2, 11, 0), (3, 0, 0), (3, 1, 8), (3, 3, 2)])
def test_every_class_of_the_table_is_read_since_its_release(release: Release) -> None:
    """Older releases raise ImportError, which is reported."""
    data = {"collection": [1], "datetime": {"timestamp": 0.0, "tz": None}, "date": "2026-01-02", "timedelta": 1.5, "decimal": 1, "uuid": "12345678123456781234567812345678", "timezone": "UTC", "numpy": 1, "frame": "00"}  # fmt: skip
    for name, known in ENVELOPE_TYPES.items():
        found = problems(read(json.dumps(envelope(name, data[known.kind])), release))
        refused = any("ImportError" in str(one) for one in found)
        assert refused is (release < known.since), name
    for kind, one in OLD_TYPES.items():
        text = json.dumps(old(kind, 1.5 if kind.endswith(("time", "delta")) else [1]))
        assert bool(problems(read(text, release))) is (release < one.since), kind


def test_an_error_is_noted_with_its_class() -> None:
    """The note on stderr helps those who only look at the value."""
    decoded = decode.decode(b'{"a": {"__type": "tuple", "__var": [1]}}', Context(release=(3, 1, 8)))
    (note,) = decoded.notes
    assert note.startswith('xcom_pull raises ImportError on "tuple"')
    many = [
        envelope(f"builtins.{kind}", number) for number in range(9) for kind in ("tuple", "set")
    ]
    text = json.dumps([{**one, "__version__": 2 + index} for index, one in enumerate(many)])
    notes = decode.decode(text.encode(), Context()).notes
    assert len(notes) == 6
    assert notes[-1] == "13 more notes of this kind"


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("float32", 0.1, "np.float32(0.1)"),
        ("float32", 16777217.0, "np.float32(16777216.0)"),
        ("float16", 1e-05, "np.float16(1e-05)"),
        ("float16", 65504, "np.float16(65500.0)"),
        ("complex64", 0.0001, "np.complex64(1e-04+0j)"),
        ("complex128", -0.0, "np.complex128(-0+0j)"),
        ("bool_", False, "np.False_"),
        ("int64", 7, "np.int64(7)"),
    ],
)
def test_numpy_scalars_have_the_repr_of_numpy_2(name: str, data: Any, shown: str) -> None:
    """Rounded to their type, with as few digits as that type needs."""
    value = read(json.dumps(envelope(f"numpy.{name}", data)), (3, 3, 2))
    assert render.to_repr(value) == shown


def test_numpy_scalars_are_numbers_in_json() -> None:
    """float32 after rounding; complex numbers become strings."""
    told, notes = render.to_json(read(json.dumps([envelope("numpy.float32", 0.1), envelope("numpy.complex64", 1.5)]), (3, 3, 2)))  # fmt: skip
    assert told == [0.10000000149011612, "(1.5+0j)"]
    assert notes == ("complex number became a string",)


def test_sets_of_equal_hashes_take_no_time() -> None:
    """Python would compare every element with every other."""
    numbers = [one * (2**61 - 1) for one in range(100_000)]
    value = read(json.dumps(envelope("builtins.set", numbers)), (3, 3, 2))
    assert isinstance(value, Opaque)
    assert value.facts["data"] == numbers
    assert len(read(json.dumps(envelope("builtins.set", [*range(100_000)])), (3, 3, 2))) == 100_000


def test_nested_failures_take_no_time() -> None:
    """Each level is opened once, even if the levels inside fail."""
    text = json.dumps([1])
    for _ in range(150):
        text = f'{{"__classname__": "builtins.set", "__version__": 1, "__data__": [{text}]}}'
    for release in ((2, 10, 5), (3, 3, 2)):
        assert problems(read(text, release))


def test_an_envelope_whose_keys_are_escaped_is_opened() -> None:
    """JSON allows any character to be escaped."""
    for text in (
        '{"\\u005f_classname__": "builtins.tuple", "__version__": 1, "__data__": [1]}',
        '{"__t\\u0079pe": "tuple", "__var": [1]}',
    ):
        assert read(text, (3, 3, 2)) == (1,)


def test_nan_is_kept_in_envelopes() -> None:
    """Airflow reads a Decimal from NaN."""
    value = read('{"__classname__": "decimal.Decimal", "__version__": 1, "__data__": NaN}', (2, 10, 5))  # fmt: skip
    assert math.isnan(value)

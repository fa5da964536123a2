"""The contract of a database product: what it must override is enough for right answers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import sqlalchemy as sa

from tests.db.test_store import opened
from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db.backends.base import Backend
from xcomctl.db.backends.connecting import connect
from xcomctl.db.backends.diagnosis import Diagnosis
from xcomctl.db.backends.postgresql import PostgreSQL
from xcomctl.db.backends.sqlite import SQLite
from xcomctl.db.read.store import Store
from xcomctl.db.schema import Column
from xcomctl.exchange.lines import JsonLines
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.servers import Server


class NewProduct(Backend):
    """Nothing but what the contract demands, for a server that happens to be PostgreSQL."""

    name: ClassVar[str] = "new"
    driver: ClassVar[str] = "postgresql+psycopg2"

    def guard(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")

    def prepare(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")

    def columns(self, table: str) -> Mapping[str, Column]:
        found = sa.inspect(self.connection)
        if not found.has_table(table):
            return {}
        return {
            one["name"]: Column(
                one["name"],
                str(one["type"]).lower(),
                bool(one["nullable"]),
                one["default"] is not None,
            )
            for one in found.get_columns(table)
        }

    def hidden_rows(self, table: str) -> str | None:
        return None

    def like(self, column: sa.ColumnElement[Any], glob: str) -> sa.ColumnElement[Any]:
        return column.like(glob.replace("*", "%"))

    def diagnose(self, cause: BaseException) -> Diagnosis:
        return Diagnosis("it failed", "Try again.")

    def diagnose_connecting(self, cause: BaseException) -> Diagnosis:
        return Diagnosis("it did not answer")


def listing(store: Store, selection: Selection, **order: Any) -> list[Any]:
    found = store.entries.scan(selection, **order)
    return [(entry.ref, entry.size, entry.timestamp, entry.encoding) for entry in found]


def answers(store: Store) -> dict[str, Any]:
    """Return what a store answers to questions of every kind."""
    some = Selection(dag_ids=("dag_1*",), min_size=Size(3))
    written = bytearray()
    with JsonLines(written.extend, store.schema.storage) as lines:
        store.entries.stream_into(Selection(), lines)
    groups = store.sizes.by_group(Selection(), ("dag_id", "key"), percentiles=True)
    (newest,) = store.entries.find("dag_2", "task", "return_value")
    return {
        "count": store.entries.count(some),
        "all": sorted(listing(store, some), key=str),
        "newest": listing(store, some, sort="run", descending=True, limit=5),
        "largest": [size for _, size, *_ in listing(store, Selection(), sort="size", descending=True, limit=5)],
        "groups": dict(groups),
        "pickles": store.sizes.survey(Selection(), pickles=True).may_hold_pickles,
        "export": sorted(written.splitlines()),
        "newest run": newest.ref,
        "value": store.entries.read(newest),
    }  # fmt: skip


def test_the_defaults_answer_as_a_product_with_its_own_ways_does(postgres: Server) -> None:
    """Slower, but the same."""
    metadata = Metadata(postgres.create_database())
    for number in range(30):
        metadata.add(
            b'"%s"' % (b"x" * number), dag_id=f"dag_{number % 12}", run_id=f"run_{number // 12}"
        )
    metadata.add(b"\x80\x04K\x01.", key="pickle")
    with opened(metadata.url) as store:
        expected = answers(store)
    backend = NewProduct(resolve_target(url=metadata.url))
    backend.use(connect(backend))
    store = Store(backend)
    try:
        assert answers(store) == expected
        with pytest.raises(sa.exc.DBAPIError):
            store.table.connection.exec_driver_sql("DELETE FROM xcom")
    finally:
        store.close()


def test_the_contract_names_what_must_be_overridden() -> None:
    """The docstring and the abstract methods agree."""
    text = inspect.getdoc(Backend) or ""
    must = text[text.index("**Must**") : text.index("**Should**")]
    for name in Backend.__abstractmethods__:
        assert f"`{name}`" in must


@pytest.mark.parametrize("product", [PostgreSQL, SQLite])
def test_every_public_method_says_what_it_returns(product: type[Backend]) -> None:
    """What a product overrides is described once, in the contract."""
    own: list[Callable[..., Any]] = [
        one for name, one in vars(product).items() if callable(one) and not name.startswith("_")
    ]
    assert own
    for one in own:
        assert getattr(Backend, one.__name__, None) is not None, one.__name__

"""The customers of a run as a DuckDB table with their keys."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from typing import Any

import duckdb
import pyarrow as pa

from cli.suggest.blocking import KEYS, keyed
from cli.suggest.features import COLUMNS, Features, without_placeholders

# Lower: more calls. Higher: a list of 50 pairs waits for, and holds, more than it shows. A row is about 2 kB as a dict.
PIECE_ROWS = 1_000


class Table:
    """`customers` in a DuckDB in memory; close() frees it."""

    def __init__(self, population: Iterable[Features]) -> None:
        self.connection = duckdb.connect(":memory:")
        rows = [astuple(one) for one in without_placeholders(list(population))]
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in COLUMNS]
        types = [pa.bool_() if name == "is_han" else pa.string() for name in COLUMNS]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
        self.connection.register("given_customers", pa.table(arrays, names=list(COLUMNS)))
        self.connection.execute(f"create table customers as {keyed('given_customers')}")
        self.customers = len(rows)
        self._known: dict[str, int] = {}

    def close(self) -> None:
        """Free the memory."""
        self.connection.close()

    def known(self, column: str) -> int:
        """How many customers have a value there."""
        if column not in self._known:
            self._known[column] = int(self.number(f"select count({column}) from customers"))
        return self._known[column]

    def filled(self, column: str) -> float:
        """Their share of all customers."""
        return self.known(column) / max(1, self.customers)

    def has_candidates(self) -> bool:
        """Whether any two customers agree on a key."""
        return bool(
            self.number(
                "select " + " or ".join(f"count(distinct {key}) < count({key})" for key in KEYS) + " from customers"
            )
        )

    def candidates(self) -> int:
        """How many pairs agree on a key. Takes as long as finding them does."""
        pairs = " union ".join(
            "select l.customer_id, r.customer_id from customers l join customers r"
            f" on l.{key} = r.{key} and l.customer_id < r.customer_id"
            for key in KEYS
        )
        return int(self.number(f"select count(*) from ({pairs})"))

    def agreeing(self, column: str) -> float:
        """How many pairs agree on a column."""
        return float(
            self.number(
                f"select coalesce(sum(n * (n - 1) / 2), 0) from (select count(*) n from customers"
                f" where {column} is not null group by {column})"
            )
        )

    def row(self, customer_id: str) -> dict[str, Any]:
        """A customer's row. Raises KeyError."""
        (row,) = self.rows("select * from customers where customer_id = ?", customer_id) or (None,)
        if row is None:
            raise KeyError(customer_id)
        return row

    def stream(self, sql: str) -> Iterator[dict[str, Any]]:
        """The rows of a query piece by piece; other queries may be asked in between."""
        # On a cursor of its own: a query on the same connection would end this one.
        cursor = self.connection.cursor().execute(sql)
        names = [column[0] for column in cursor.description or ()]
        while piece := cursor.fetchmany(PIECE_ROWS):
            yield from (dict(zip(names, row, strict=True)) for row in piece)

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """All rows of a query, by column name."""
        cursor = self.connection.execute(sql, list(values))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def number(self, sql: str) -> Any:
        """The one value of a query."""
        # All rows, though there is one: DuckDB takes nothing else on a connection before the last one was fetched.
        return self.connection.execute(sql).fetchall()[0][0]

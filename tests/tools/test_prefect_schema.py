"""The tables that a new database begins with are those of the installed Prefect."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from cli.server import SCHEMA, make_database
from tools.prefect_schema import migrated_schema


def test_the_tables_are_those_that_prefects_migrations_make(tmp_path: Path) -> None:
    kept, made = SCHEMA.read_text(encoding="utf-8"), migrated_schema()
    # The order of a table's constraints is not the same twice.
    lines = (Counter(line.strip(" ,") for line in text.splitlines()) for text in (kept, made))
    assert next(lines) == next(lines), "python -m tools.prefect_schema writes them anew"
    for _ in range(2):
        make_database(tmp_path / "prefect.db")
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as database:
        _begin, *statements, _commit = database.iterdump()
    assert "\n\n".join(statements) + "\n" == kept

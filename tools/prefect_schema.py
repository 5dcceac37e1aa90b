"""Writes `cli/prefect_schema.sql`: the tables of Prefect's database, as its own migrations make them.

`python -m tools.prefect_schema`, once another Prefect is installed. Until then Prefect makes the remaining
steps of a new database itself, so that an old file costs time and nothing else.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from cli.server import SCHEMA

_ADDRESS = "sqlite+aiosqlite:///prefect.db"
_MIGRATE = (
    "import asyncio; from prefect.server.database import provide_database_interface as db; "
    "asyncio.run(db().create_db())"
)


def migrated_schema() -> str:
    """Return the statements that make an empty database of the installed Prefect, blank lines between."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "PREFECT_HOME": folder,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": _ADDRESS,
        }
        subprocess.run([sys.executable, "-c", _MIGRATE], cwd=folder, env=environment, check=True)
        with closing(sqlite3.connect(Path(folder) / "prefect.db")) as database:
            _begin, *statements, _commit = database.iterdump()
            return "\n\n".join(statements) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(migrated_schema(), encoding="utf-8")
    print(f"wrote {SCHEMA}")

"""The schema: from nothing to the newest and back, and never different from what the code believes."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from bulksend.ledger.database import Database
from bulksend.ledger.migrating import SchemaOutdated, check_schema, migrate
from bulksend.ledger.schema import metadata


def test_an_empty_database_is_brought_up_and_back_to_nothing(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(SchemaOutdated, match="bulksend migrate"):
        check_schema(database)
    migrate(database)
    check_schema(database)
    migrate(database, "base")
    with database.read() as tx:
        assert set(inspect(tx).get_table_names()) <= {"alembic_version"}
    migrate(database)
    check_schema(database)
    database.close()


def test_the_migrations_make_just_the_tables_that_the_code_reads(ledger: Database) -> None:
    with ledger.read() as tx:
        differences = compare_metadata(MigrationContext.configure(tx), metadata)
    assert differences == []


def test_migrating_twice_changes_nothing(ledger: Database) -> None:
    migrate(ledger)
    check_schema(ledger)

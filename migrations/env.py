"""Alembic's entry: works on the connection it is handed, or on DATABASE_URL when run by ``alembic`` itself."""

from __future__ import annotations

from alembic import context

from bulksend.ledger.schema import metadata

connection = context.config.attributes.get("connection")


def run(connection) -> None:  # type: ignore[no-untyped-def]
    """Apply the steps within the caller's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if connection is not None:
    run(connection)
else:
    import os

    from bulksend.ledger.database import Database

    with Database(os.environ["DATABASE_URL"]).write() as tx:
        run(tx)

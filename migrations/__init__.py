"""The ledger's schema, one Alembic migration after the other. ``bulksend migrate`` applies them."""

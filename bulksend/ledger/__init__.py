"""The ledger: the only room that speaks SQL. The database remembers, the broker carries ids.

Each module is a set of named acts on a transaction (``database.Database.write`` / ``read``); the caller owns
the commit.
"""

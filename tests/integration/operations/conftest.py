"""A ledger with short ways to bring a message into any state, as the ledger's own tests have it."""

from __future__ import annotations

import pytest

from bulksend.ledger.database import Database
from tests.integration.ledger.conftest import Desk


@pytest.fixture
def desk(ledger: Database) -> Desk:
    return Desk(ledger)

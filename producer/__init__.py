"""Jobs in: the Python client, the intake of files, the relay.

Its errors: ``InvalidInput`` (what was handed in, a setting or the ledger's set-up is wrong; nothing was changed),
``InvalidValue`` (one field of it), ``SamePeople`` (some of the people have this message already) and
``LedgerUnreachable`` (the ledger does not answer now; try again later).
"""

from bulksend.ledger.errors import LedgerUnreachable
from bulksend.messaging.errors import InvalidInput, InvalidValue
from producer.client import Producer, SendReceipt
from producer.intake import IntakeReport, SamePeople

__all__ = [
    "IntakeReport",
    "InvalidInput",
    "InvalidValue",
    "LedgerUnreachable",
    "Producer",
    "SamePeople",
    "SendReceipt",
]

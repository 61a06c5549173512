"""Jobs in: the Python client, the intake of files, the relay.

Its errors (the tree is in ``bulksend/errors.py``): ``InvalidInput``, with ``InvalidValue`` for one field,
``TooLate`` for a code that would be late and ``SamePeople`` for recipients that have this message already;
``LedgerUnreachable`` when the ledger does not answer now.
"""

from bulksend.errors import InvalidInput, InvalidValue, LedgerUnreachable, TooLate
from producer.async_client import AsyncProducer
from producer.client import Producer
from producer.direct_sends import SendReceipt
from producer.intake_report import IntakeReport, SamePeople

__all__ = [
    "AsyncProducer",
    "IntakeReport",
    "InvalidInput",
    "InvalidValue",
    "LedgerUnreachable",
    "Producer",
    "SamePeople",
    "SendReceipt",
    "TooLate",
]

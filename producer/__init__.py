"""Jobs in: the Python client, the intake of files, the relay."""

from producer.client import Producer, SendReceipt
from producer.intake import IntakeReport

__all__ = ["IntakeReport", "Producer", "SendReceipt"]

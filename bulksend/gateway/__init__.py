"""The only room that knows the vendor: payload, signature, replies, client, calls. Import from here.

``socket_transport`` and ``vendor_calls`` load httpx, so they are imported from there.
"""

from bulksend.gateway.client import VendorClient
from bulksend.gateway.error_codes import Family, find_row, outcome_of, table_rows, whatsapp_code_in
from bulksend.gateway.payload import (
    Credentials,
    SendOrder,
    build_call,
    build_request,
    new_nonce,
)
from bulksend.gateway.phones import PhoneList
from bulksend.gateway.replies import read_failure, read_reply
from bulksend.gateway.signature import canonical, sign
from bulksend.gateway.transport import Failure, RawReply, Timeouts, Transport

__all__ = [
    "Credentials",
    "Failure",
    "Family",
    "PhoneList",
    "RawReply",
    "SendOrder",
    "Timeouts",
    "Transport",
    "VendorClient",
    "build_call",
    "build_request",
    "canonical",
    "find_row",
    "new_nonce",
    "outcome_of",
    "read_failure",
    "read_reply",
    "sign",
    "table_rows",
    "whatsapp_code_in",
]

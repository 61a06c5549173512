"""Pure words and rules: what a message, its content, its recipient, its attempts are, and what follows from what.

Nothing in here reads a clock, a die, a file, a socket or the environment.
"""

from bulksend.messaging.backoff import backoff_ms, pair_backoff_ms
from bulksend.messaging.content import Content, parse_content
from bulksend.messaging.decide import Decision, Pause, Policy, Subject, decide
from bulksend.messaging.errors import InvalidInput, InvalidValue
from bulksend.messaging.masking import mask_digits, mask_phone
from bulksend.messaging.outcome import (
    Accepted,
    Answer,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Remedy,
    Retry,
    Scope,
    Suppress,
    Throttled,
    Unknown,
)
from bulksend.messaging.plan import (
    CampaignFacts,
    Columns,
    PlannedMessage,
    Refusal,
    map_columns,
    plan_row,
)
from bulksend.messaging.recipient import parse_recipient, region_of
from bulksend.messaging.rendering import ContentTemplate, compile_content
from bulksend.messaging.states import (
    LANES,
    CampaignStatus,
    Kind,
    MessageType,
    OnUnknown,
    Status,
    may_move,
)

__all__ = [
    "LANES",
    "Accepted",
    "Answer",
    "CampaignFacts",
    "CampaignStatus",
    "Columns",
    "Content",
    "ContentTemplate",
    "Decision",
    "Evidence",
    "InvalidInput",
    "InvalidValue",
    "Kind",
    "MessageType",
    "NotSent",
    "OnUnknown",
    "Outcome",
    "Pause",
    "PlannedMessage",
    "Policy",
    "Refusal",
    "Refused",
    "Remedy",
    "Retry",
    "Scope",
    "Status",
    "Subject",
    "Suppress",
    "Throttled",
    "Unknown",
    "backoff_ms",
    "compile_content",
    "decide",
    "map_columns",
    "mask_digits",
    "mask_phone",
    "may_move",
    "pair_backoff_ms",
    "parse_content",
    "parse_recipient",
    "plan_row",
    "region_of",
]

"""Pure rules of messages, contents, recipients, attempts and decisions.

Nothing here reads a clock, a random number, a file, a socket or the environment.
"""

from bulksend.messaging.backoff import backoff_ms, pair_backoff_ms
from bulksend.messaging.column_names import ColumnMapping, map_columns, normal_name
from bulksend.messaging.content import (
    Body,
    Button,
    Image,
    Language,
    Parameter,
    Template,
    Text,
    load_content_json,
    parse_content,
)
from bulksend.messaging.decide import AttemptedMessage, Decision, Pause, Policy, decide
from bulksend.messaging.masking import mask_digits, mask_phone
from bulksend.messaging.number_forms import canonical_number, is_same_person
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
    PlannedMessage,
    Planner,
    PlanningContext,
    RefusedRow,
)
from bulksend.messaging.recipient import parse_recipient, parse_sender, region_of
from bulksend.messaging.rendering import ContentTemplate, compile_content
from bulksend.messaging.states import (
    MOVES,
    Kind,
    MessageType,
    OnUnknown,
    Status,
)
from bulksend.messaging.units import (
    format_duration,
    format_instant,
    parse_duration_ms,
    parse_instant_ms,
    parse_rate,
    zone_of,
)

__all__ = [
    "MOVES",
    "Accepted",
    "Answer",
    "AttemptedMessage",
    "Body",
    "Button",
    "ColumnMapping",
    "ContentTemplate",
    "Decision",
    "Evidence",
    "Image",
    "Kind",
    "Language",
    "MessageType",
    "NotSent",
    "OnUnknown",
    "Outcome",
    "Parameter",
    "Pause",
    "PlannedMessage",
    "Planner",
    "PlanningContext",
    "Policy",
    "Refused",
    "RefusedRow",
    "Remedy",
    "Retry",
    "Scope",
    "Status",
    "Suppress",
    "Template",
    "Text",
    "Throttled",
    "Unknown",
    "backoff_ms",
    "canonical_number",
    "compile_content",
    "decide",
    "format_duration",
    "format_instant",
    "is_same_person",
    "load_content_json",
    "map_columns",
    "mask_digits",
    "mask_phone",
    "normal_name",
    "pair_backoff_ms",
    "parse_content",
    "parse_duration_ms",
    "parse_instant_ms",
    "parse_rate",
    "parse_recipient",
    "parse_sender",
    "region_of",
    "zone_of",
]

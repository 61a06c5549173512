"""What the quality that WhatsApp gives a sender asks for."""

from __future__ import annotations

#: Why its marketing campaigns pause.
LOW_QUALITY = (
    "WhatsApp rates the quality of sender {sender} RED: people block or report its messages, and its limit may fall; "
    "resume the campaign if it is to go on"
)


def is_low_quality(quality: object) -> bool:
    """Whether marketing messages of a sender with this quality rating should stop for a person to look."""
    return isinstance(quality, str) and quality.upper() == "RED"

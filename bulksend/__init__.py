"""bulksend: a queue-backed bulk sender of WhatsApp messages.

Floors, words and promises: ``docs/life-of-a-message.md``. An import goes down or stays in its room;
``tests/unit/test_floors.py`` watches the stairs.
"""

__version__ = "0.1.0"

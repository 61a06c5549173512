"""bulksend: a queue-backed bulk sender of WhatsApp messages.

Start with ``docs/life-of-a-message.md``: the ten steps and the floors. An import goes down or stays in its room;
``tests/unit/test_floors.py`` fails on any other. The words are in ``docs/glossary.md``.
"""

__version__ = "0.1.0"

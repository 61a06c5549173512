"""The notifier: webhooks out. It fans events out into deliveries, and sends the deliveries that are due.

``Notifier`` is the process; each of its parts is a module: ``fan_out``, ``deliveries``, ``posting``, ``address``.
"""

from notifier.process import Notifier

__all__ = ["Notifier"]

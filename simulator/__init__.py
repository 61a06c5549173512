"""A simulated vendor: the contract of SendMessage, with faults on demand. See README.md in this folder."""

from simulator.cli import main
from simulator.faults import Match, Rule, read_rules
from simulator.server import Simulator, run_in_thread, serve
from simulator.settings import (
    REHEARSAL_ACCESS_KEY_ID,
    REHEARSAL_SECRET,
    Limits,
    ReceiptSettings,
    SimulatorSettings,
    VendorPhone,
    VendorTemplate,
    read_settings,
)

__all__ = [
    "REHEARSAL_ACCESS_KEY_ID",
    "REHEARSAL_SECRET",
    "Limits",
    "Match",
    "ReceiptSettings",
    "Rule",
    "Simulator",
    "SimulatorSettings",
    "VendorPhone",
    "VendorTemplate",
    "main",
    "read_rules",
    "read_settings",
    "run_in_thread",
    "serve",
]

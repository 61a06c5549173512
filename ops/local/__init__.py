"""Servers of our own on this machine: what `demo`, `up` and the tests start."""

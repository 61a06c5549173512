"""Servers and processes of our own on this machine: what `demo`, `up` and the tests start.

All of them listen on the loopback only and end with the process that started them, however that one ends.
"""

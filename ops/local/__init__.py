"""Servers and processes that `demo`, `up` and the tests start on this machine.

They listen on the loopback only, and end with the process that started them, however it ends.
"""

"""Permits on the worker's side: who waits for which limit, and how many are asked for at a time."""

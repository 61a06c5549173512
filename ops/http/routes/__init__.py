"""The endpoints, a module for each resource; each has a ``router``."""

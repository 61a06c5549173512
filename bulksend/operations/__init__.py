"""What a person or a program may do: one function for each use case, called by every face (CLI, HTTP API, console).

A function takes its parts (ledger, limiter) and plain arguments, puts an act of an operator on record and returns
values; ``to_json`` gives them the shape that ``--json`` and the HTTP API show. Nothing here prints, ends the process
or reads the environment.
"""

"""The command line: a command parses its arguments, calls an operation and prints. ``main`` registers all of them."""

"""The HTTP face: requests in, operations called, JSON out. It parses, calls and prints, as the command line does."""

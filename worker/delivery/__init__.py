"""A message between its claim and its result: rendered, written ahead, POSTed, decided and settled."""

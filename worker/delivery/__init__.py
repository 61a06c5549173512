"""What happens to a message between its claim and its result: permit, write-ahead, POST, decision, settlement."""

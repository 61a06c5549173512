"""The worker's side of the limiter: which messages wait for a permit, and how many are asked for in one call."""

"""What survives the death of a worker, and the maintenance that uses it."""

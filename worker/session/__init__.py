"""The ledger as one worker sees it: its lease, its statements, the campaigns it has looked up."""

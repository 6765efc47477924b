"""The local stack: the servers that Slipway runs on, on one machine, under one supervisor."""

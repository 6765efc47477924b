"""What Slipway runs on: the local stack, the replica agent, the embedded model server and the command line."""

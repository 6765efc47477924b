"""What Slipway runs on: the local stack, the replica agent, the embedded model server and the command line.

These are programs. What they and flows share lives in `tasks`; only `cli` imports flows.
"""

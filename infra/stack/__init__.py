"""The local stack: the servers that Slipway runs on, on one machine, under one supervisor.

Owns the folder that SLIPWAY_HOME names, and the secrets in it. Start with `start`.
"""

"""The command `slipway`: a module for each subject of its commands, which parse, call and print.

Runs flows in its own process (`flow_runs`); decides nothing about versions. Start with `main`.
"""

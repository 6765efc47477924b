"""The agent beside a model server: it brings its replica to the fleet's newest config, and reports.

A process of its own on the replica's machine, without the stack and without Prefect. Start with `agent`.
"""

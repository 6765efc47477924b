"""Replicas and the configs they converge to. Start with `converge`.

A fleet is known by what lies in the store; servers are asked through `serving`.
"""

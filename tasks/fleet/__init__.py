"""Replicas, and the configs that they converge to. Start with `converge`.

Writes the numbered configs and the replicas' reports in the store, and the folders that a replica's model server
reads; asks servers through `serving`.
"""

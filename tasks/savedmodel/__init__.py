"""SavedModels on disk: what they hold, what they may do, what they answer. Start with `read`.

Reads and writes folders; runs a graph only in a separate process (`session`).
"""

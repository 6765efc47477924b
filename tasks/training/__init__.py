"""From a factory and data to an exported SavedModel. Start with `run`.

Imports the user's factory, and Keras, which nothing else does but the example models; publishes nothing.
"""

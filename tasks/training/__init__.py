"""From a factory and data to an exported SavedModel. Start with `run`.

The only room that imports Keras.
"""

"""Which versions are wanted, found, loaded and unloaded; `policy` decides, the others do.

It knows nothing of requests, and loads by a function that it is given. Start with `manager`.
"""

"""Published versions in the store: catalogue, publishing, fetching, signatures. Start with `publish`.

Decides what is trusted (`signing.Trust`): what serves a version fetches it from here, verified.
"""

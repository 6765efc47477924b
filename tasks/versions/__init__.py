"""Published versions in the store: catalogue, publishing, fetching, signatures. Start with `publish`.

Decides what is believed (`signing.Trust`): whoever serves a version fetches it from here, verified.
"""

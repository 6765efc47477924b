"""Published versions in the store: catalogue, publishing, fetching, signatures. Start with `publish`."""

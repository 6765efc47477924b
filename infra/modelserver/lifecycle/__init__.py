"""Which versions are wanted, found, loaded and let go. Start with `manager`."""

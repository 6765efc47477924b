"""Asking a model server, choosing its program, and running one for a while. Start with `client`."""

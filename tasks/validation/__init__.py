"""Proving a version: gate, sandbox, served answers, soak. Start with `validate`.

Asks servers, and starts one of its own for the sandbox; changes neither the store nor a fleet.
"""

"""Proving a version: gate, sandbox, served answers, soak. Start with `validate`; what is asked is in `checks/`.

Asks servers, and starts one of its own for the sandbox; changes neither the store nor a fleet.
"""

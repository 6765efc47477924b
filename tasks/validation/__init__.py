"""Proving a version: gate, sandbox, served answers, soak. Changes nothing. Start with `validate`."""

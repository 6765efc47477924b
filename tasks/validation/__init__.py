"""Proving a version: gate, sandbox, live answers, soak. Changes nothing. Start with `validate`."""

"""What the steps of a delivery do: plain functions and small classes. `flows.steps` makes Prefect tasks of them.

The modules here are the ground of all packages: settings, errors, records, names, files, processes.
The packages stand on floors, which pyproject.toml names and `lint-imports` holds. Start with `records`.
"""

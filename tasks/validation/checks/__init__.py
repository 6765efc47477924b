"""The checks that prove a version, a file each: what each asks of a replica, and how it judges. Start with `base`.

Validation, the sandbox and the soak take those that `registered` names.
"""

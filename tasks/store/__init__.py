"""Object storage, resting on create-if-absent, and every key in it (`keys`). Start with `base`: what a store promises.

Moves bytes; what they mean is known above. `connect` knows which store the settings name; nothing else imports boto3.
"""

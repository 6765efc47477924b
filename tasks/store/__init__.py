"""Object storage over S3, resting on create-if-absent, and every key in it. Start with `s3`.

Knows nothing of models or versions.
"""

"""Object storage over S3, resting on create-if-absent, and every key in it (`keys`). Start with `s3`.

Moves bytes; what they mean is known above. Nothing else imports boto3.
"""

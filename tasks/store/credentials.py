"""The credentials of the object store: the settings', or the local stack's own."""

import json

from tasks.errors import InvalidSettings
from tasks.settings import Settings


def credentials(settings: Settings) -> tuple[str | None, str | None]:
    """Access key and secret: the settings', else the local stack's, else none (boto3 then searches by itself).

    Raises:
        InvalidSettings: only one half is set, or the local stack's file cannot be read.
    """
    access, secret = settings.s3_access_key, settings.s3_secret_key
    if (access is None) != (secret is None):
        raise InvalidSettings("Set both SLIPWAY_S3_ACCESS_KEY and SLIPWAY_S3_SECRET_KEY, or neither.")
    if access is not None and secret is not None:
        return access, secret.get_secret_value()
    if settings.s3_endpoint is not None:
        return None, None
    try:
        local = json.loads(settings.credentials_file.read_bytes())["identities"][0]["credentials"][0]
        return str(local["accessKey"]), str(local["secretKey"])
    except FileNotFoundError:
        raise InvalidSettings(
            f"There is no local stack in {settings.home.absolute()}: start it with `make up`, "
            "or set SLIPWAY_HOME to the home of one that runs (`slipway status` names it), "
            "or set SLIPWAY_S3_ENDPOINT to another store (`aws` for AWS's own)."
        ) from None
    except (ValueError, LookupError, OSError) as error:
        raise InvalidSettings(
            f"The store's credentials in {settings.credentials_file} cannot be read: {error}"
        ) from None

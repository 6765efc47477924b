"""The one place where Slipway connects to its store, and the list of those that it knows."""

from collections.abc import Callable

from tasks.errors import InvalidSettings
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.store.s3 import S3Store

# What a store is connected to by, for each scheme of SLIPWAY_S3_ENDPOINT.
STORES: dict[str, Callable[[Settings], Store]] = {
    "http": S3Store.connect,
    "https": S3Store.connect,
}


def connect(settings: Settings) -> Store:
    """The store that the settings name. No request is sent yet.

    Raises:
        InvalidSettings: half of the credentials is missing, or the endpoint is not the URL of a store.
        InvalidName: no store takes a bucket of that name.
    """
    if settings.store_url is None:  # AWS's own
        return S3Store.connect(settings)
    found = STORES.get(settings.store_url.partition("://")[0])
    if found is None:
        schemes = ", ".join(f"{scheme}://" for scheme in STORES)
        raise InvalidSettings(
            f"SLIPWAY_S3_ENDPOINT={settings.s3_endpoint!r} is not the URL of a store ({schemes}): give one such as "
            "http://127.0.0.1:18333, or `aws`."
        )
    return found(settings)

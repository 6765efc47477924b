"""Data in object storage: `s3://BUCKET/KEY`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from tasks.data.sources import is_remote
from tasks.errors import InvalidData, NotFound
from tasks.processes import temporary_folder
from tasks.settings import Settings
from tasks.store.connect import connect


@contextmanager
def local_copy(source: str, settings: Settings) -> Iterator[str]:
    """`source` as something on this machine: an object of the store is fetched, and removed afterwards.

    Its bucket may be another than Slipway's own; the endpoint and the credentials are those of the settings.

    Raises:
        InvalidData: there is no such object.
        InvalidName, StoreError: the store does not give it.
    """
    if not is_remote(source):
        yield source
        return
    bucket, _, key = source.removeprefix("s3://").partition("/")
    name = PurePosixPath(key).name
    if not name or key.endswith("/"):
        raise InvalidData(f"{source} names no object: expected s3://BUCKET/KEY, the KEY of one file.")
    store = connect(settings.model_copy(update={"bucket": bucket}))
    with temporary_folder("data") as folder:
        try:
            store.download(key, folder / name)
        except NotFound:
            raise InvalidData(
                f"There is no object {source} in the store at {settings.store_url or 'AWS S3'}."
            ) from None
        yield str(folder / name)

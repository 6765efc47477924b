"""Object storage over the S3 protocol, resting on one primitive: create if absent."""

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import stamina

from tasks.errors import InvalidSettings, NotFound, StoreError, StoreRefused, StoreUnreachable, StoreUnsuitable
from tasks.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_REFUSED = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "401",
    "403",
}
_CHUNK = 1 << 20  # bytes


class _Conflict(StoreError):
    """409: another conditional write of the same key is under way; S3 asks for a retry."""


class _Exists(StoreError):
    """412: something is there already."""


class Store:
    """One bucket. Every call has a deadline, and raises only errors of the tree.

    Raises (all methods):
        StoreUnreachable: no answer, or an answer that a retry may mend.
        StoreRefused: wrong credentials, no bucket, no permission.
    """

    def __init__(self, client: "S3Client", bucket: str, endpoint: str) -> None:
        self._client = client
        self.bucket = bucket
        self.endpoint = endpoint

    @classmethod
    def connect(cls, settings: Settings) -> "Store":
        """The store that the settings name. Nothing is asked of it yet.

        Raises:
            InvalidSettings: half of the credentials is missing.
        """
        import boto3
        from botocore.config import Config

        access, secret = credentials(settings)
        config = Config(
            connect_timeout=min(5.0, settings.call_deadline),
            read_timeout=settings.call_deadline,
            retries={"mode": "standard", "max_attempts": 4},
            max_pool_connections=32,
            s3={"addressing_style": "path"},
            # Checksums that a store may not know are left out; files are verified against their manifest instead.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = boto3.client(
            "s3",
            endpoint_url=settings.store_url,
            region_name=settings.s3_region,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=config,
        )
        return cls(client, settings.bucket, settings.store_url or "AWS S3")

    def uri(self, key: str) -> str:
        """`key` as an s3:// address."""
        return f"s3://{self.bucket}/{key}"

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` if nothing is there; whether `data` is there now.

        A write whose answer was lost is found again: an object that holds exactly `data` counts as ours.
        """
        try:
            for attempt in stamina.retry_context(on=_Conflict, attempts=8, timeout=30):
                with attempt, self._errors(key):
                    self._client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except _Exists:
            return self.find(key) == data
        return True

    def put(self, key: str, data: bytes) -> None:
        """Write `data` under `key`, over whatever is there."""
        with self._errors(key):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        """The bytes under `key`.

        Raises:
            NotFound: nothing is there.
        """
        with self._errors(key):
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def find(self, key: str) -> bytes | None:
        """The bytes under `key`, or None where nothing is."""
        try:
            return self.get(key)
        except NotFound:
            return None

    def keys(self, prefix: str, after: str = "") -> list[str]:
        """All keys under `prefix` that sort behind `after`, sorted. One request for each thousand."""
        found: list[str] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, StartAfter=after
            )
            for page in pages:
                found += [item["Key"] for item in page.get("Contents", [])]
        return found

    def children(self, prefix: str) -> list[str]:
        """Names of what lies directly under `prefix` as folders, sorted."""
        found: list[str] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                found += [p["Prefix"][len(prefix) : -1] for p in page.get("CommonPrefixes", [])]
        return found

    def delete(self, key: str) -> None:
        """Remove `key`; removing what is not there is no error."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def upload(self, path: Path, key: str) -> None:
        """Send the file `path` to `key` in a stream, in parts where it is large."""
        from boto3.exceptions import S3UploadFailedError

        with self._errors(key):
            try:
                self._client.upload_file(str(path), self.bucket, key)
            except S3UploadFailedError as error:
                # boto3 hides what went wrong behind this one type.
                raise error.__context__ or error from None

    def download(self, key: str, path: Path) -> tuple[int, str]:
        """Bring `key` to the new file `path` in a stream and onto the disk; its size in bytes and its sha256.

        Raises:
            NotFound: nothing is there.
        """
        digest, size = hashlib.sha256(), 0
        with self._errors(key), path.open("xb") as file:
            for chunk in self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        return size, digest.hexdigest()

    def require_suitable(self) -> None:
        """Find out whether the store can be used: it answers, the bucket is there, create-if-absent is honoured.

        Raises:
            StoreUnsuitable: the store takes a second create of the same key.
        """
        key = f"probes/{uuid.uuid4()}"
        try:
            first, second = self.create(key, b"first"), self.create(key, b"second")
        finally:
            with contextlib.suppress(StoreError):
                self.delete(key)
        if not first or second:
            raise StoreUnsuitable(
                f"The store at {self.endpoint} ignores `If-None-Match: *`, on which version numbers and fleet "
                "configs rest: two writers would overwrite one another. Use a store with conditional writes "
                "(S3, R2, MinIO, SeaweedFS)."
            )

    def ensure_bucket(self) -> None:
        """Make the bucket if it is not there."""
        with contextlib.suppress(_Exists), self._errors(""):
            self._client.create_bucket(Bucket=self.bucket)

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises into the tree."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            raise self._translated(key, error) from error
        except NoCredentialsError as error:
            raise StoreRefused(
                f"No credentials for the store at {self.endpoint}: set SLIPWAY_S3_ACCESS_KEY and "
                "SLIPWAY_S3_SECRET_KEY, or start the local stack with `make up`."
            ) from error
        except (BotoCoreError, HTTPClientError, HTTPError, ConnectionError, TimeoutError) as error:
            raise StoreUnreachable(
                f"The store at {self.endpoint} does not answer ({_short(error)}). "
                "Is it running? `slipway status` tells of the local one; SLIPWAY_S3_ENDPOINT names another."
            ) from error

    def _translated(self, key: str, error: "ClientError") -> StoreError | NotFound:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status == 412 or code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            return _Exists(f"Something is at {self.uri(key)} already.")
        if status == 409:
            return _Conflict(f"{self.uri(key)} is being written by someone else at this moment: try again.")
        if code == "NoSuchBucket":
            return StoreRefused(
                f"The store at {self.endpoint} has no bucket {self.bucket!r}: make it, "
                "or set SLIPWAY_BUCKET to one that exists."
            )
        if status == 404:
            return NotFound(f"There is no object {self.uri(key)}.")
        if code in _REFUSED or status in (401, 403):
            return StoreRefused(
                f"The store at {self.endpoint} refused the credentials for {self.uri(key)} ({code}): check "
                "SLIPWAY_S3_ACCESS_KEY and SLIPWAY_S3_SECRET_KEY, and that they may read and write this bucket."
            )
        if status >= 500 or code == "SlowDown":
            return StoreUnreachable(
                f"The store at {self.endpoint} failed at {self.uri(key)} ({status} {code}): try again."
            )
        return StoreError(
            f"The store at {self.endpoint} did not take {self.uri(key)} ({status} {code}): {_short(error)}"
        )


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
            "or set SLIPWAY_S3_ENDPOINT to another store (`aws` for AWS's own)."
        ) from None
    except (ValueError, LookupError, OSError) as error:
        raise InvalidSettings(
            f"The store's credentials in {settings.credentials_file} cannot be read: {error}"
        ) from None


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__

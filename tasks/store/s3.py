"""Object storage over the S3 protocol, resting on one primitive: create if absent."""

import contextlib
import email.utils
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

import stamina

from tasks.errors import (
    Corrupt,
    InvalidName,
    InvalidSettings,
    NotFound,
    StoreError,
    StoreRefused,
    StoreUnreachable,
)
from tasks.settings import Settings
from tasks.store.base import Store, StoredObject, unsuitable
from tasks.store.credentials import credentials

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef

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
_PART = 16 << 20  # bytes of a large file that are sent at a time
_TRANSFERS = 8  # requests under way at once while files are sent
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class _Broken(StoreUnreachable):
    """An answer that broke off; what arrived before is good."""


class _Changed(StoreUnreachable):
    """An answer that broke off cannot be taken up again: the object was written over meanwhile."""


class _Conflict(StoreError):
    """409: another conditional write of the same key is under way; S3 asks for a retry."""


class _Exists(StoreError):
    """412: something is there already."""


@functools.cache
def _descriptions() -> "Loader":
    """What botocore knows of its services, parsed once a process: nine tenths of the time that connecting takes."""
    from botocore.loaders import create_loader

    return create_loader()


def _session(own: bool) -> "Session":
    """A session, which finds credentials as they are now.

    Args:
        own: for a store other than AWS's: AWS_ variables and ~/.aws are meant for another. A profile that does not
            exist would be an error, and FIPS endpoints are refused for any store but AWS's. The certificates of
            AWS_CA_BUNDLE still count.
    """
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions())
    for name, (_, _, default, convert) in list(session.session_var_map.items()) if own else []:
        if name != "ca_bundle":
            session.session_var_map[name] = (None, None, default, convert)
    return session


class S3Store(Store):
    """One bucket. Every call has a deadline."""

    def __init__(self, make_client: Callable[[int], "S3Client"], bucket: str, endpoint: str) -> None:
        """`make_client`: makes a client that tries a request again so many times."""
        self._make_client = make_client
        self._client = make_client(4)
        self.bucket = bucket
        self.endpoint = endpoint

    @functools.cached_property
    def _client_without_retries(self) -> "S3Client":
        return self._make_client(0)

    @classmethod
    def connect(cls, settings: Settings) -> "S3Store":
        """The store that the settings name. No request is sent yet.

        Raises:
            InvalidSettings: half of the credentials is missing, or the endpoint is not a URL.
            InvalidName: no store takes a bucket of that name.
        """
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        if not _BUCKET.fullmatch(settings.bucket):
            raise InvalidName(
                f"SLIPWAY_BUCKET={settings.bucket!r} cannot be a bucket's name: use 3 to 63 lower-case letters, "
                "digits, '-' or '.'."
            )
        access, secret = credentials(settings)
        config = Config(
            connect_timeout=min(5.0, settings.call_deadline),
            read_timeout=settings.call_deadline,
            max_pool_connections=32,
            s3={"addressing_style": "path"},
            # Checksums that a store may not know are left out; files are verified against their manifest instead.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        session = _session(own=access is not None and settings.store_url is not None)

        def make_client(retries: int) -> "S3Client":
            client = session.create_client(
                "s3",
                endpoint_url=settings.store_url,
                region_name=settings.s3_region,
                aws_access_key_id=access,
                aws_secret_access_key=secret,
                config=config.merge(Config(retries={"mode": "standard", "max_attempts": retries})),
            )
            return cast("S3Client", client)

        try:
            return cls(make_client, settings.bucket, settings.store_url or "AWS S3")
        except ValueError as error:
            raise InvalidSettings(
                f"SLIPWAY_S3_ENDPOINT={settings.s3_endpoint!r} is not a URL of a store ({error}): give one such as "
                "http://127.0.0.1:18333, or `aws`."
            ) from error
        except BotoCoreError as error:  # such as an AWS_PROFILE that does not exist
            raise InvalidSettings(
                f"AWS's own settings in the environment or in ~/.aws cannot be used: {error} Correct or unset them, or "
                "give the store's keys as SLIPWAY_S3_ACCESS_KEY and SLIPWAY_S3_SECRET_KEY."
            ) from error

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def create(self, key: str, data: bytes) -> bool:
        try:
            for attempt in stamina.retry_context(on=_Conflict, attempts=8, timeout=30):
                with attempt, self._errors(key):
                    self._client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except _Exists:
            return self.find(key) == data
        return True

    def put(self, key: str, data: bytes) -> None:
        with self._errors(key):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        for attempt in stamina.retry_context(on=_Changed, attempts=5, timeout=None):
            with attempt:
                return b"".join(self.stream(key))
        raise AssertionError("the last attempt returns or raises")

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """As promised. An answer that breaks off is taken up again where it broke, with a request for the rest."""
        at, etag = start, ""
        for attempt in stamina.retry_context(on=_Broken, attempts=5, timeout=None):
            with attempt:
                answer = self._open(key, at, stop, etag if at > start else None)
                etag = answer.get("ETag", "")
                with self._errors(key, _Broken):
                    for chunk in answer["Body"].iter_chunks(_CHUNK):
                        at += len(chunk)
                        yield chunk

    def objects(self, prefix: str, after: str = "") -> list[StoredObject]:
        """As promised, with one request for each thousand."""
        found: list[StoredObject] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, StartAfter=after
            )
            for page in pages:
                present = _date(page["ResponseMetadata"].get("HTTPHeaders", {}))
                found += [
                    StoredObject(item["Key"], item["Size"], (present - item["LastModified"]).total_seconds())
                    for item in page.get("Contents", [])
                ]
        return sorted(found, key=lambda o: o.key)  # SeaweedFS sorts folder by folder

    def children(self, prefix: str) -> list[str]:
        found: list[str] = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                found += [p["Prefix"][len(prefix) : -1] for p in page.get("CommonPrefixes", [])]
        return sorted(found)

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def delete_once(self, key: str) -> None:
        with self._errors(key):
            self._client_without_retries.delete_object(Bucket=self.bucket, Key=key)

    def delete_all(self, prefix: str) -> int:
        keys = self.keys(prefix)
        # SeaweedFS goes on listing an empty folder until it is deleted as if it were an object.
        folders = {str(parent) + "/" for key in keys for parent in PurePosixPath(key).parents}
        for key in [*keys, *sorted((f for f in {*folders, prefix} if f.startswith(prefix)), reverse=True)]:
            self.delete(key)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
        with self._errors(prefix):
            uploads = [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]
        for key, upload in uploads:
            with contextlib.suppress(NotFound), self._errors(key):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        return len(keys)

    def upload_all(self, files: Mapping[str, Path]) -> None:
        """As promised: several files at once, large ones in parts that are tried again one by one."""
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=_PART,
            multipart_chunksize=_PART,
            max_concurrency=_TRANSFERS,
            preferred_transfer_client="classic",  # the other one knows no time-outs
        )
        with create_transfer_manager(self._client, config) as manager:
            for key, sent in [(key, manager.upload(str(path), self.bucket, key)) for key, path in files.items()]:
                with self._errors(key):
                    sent.result()

    def ensure_bucket(self) -> None:
        """Make the bucket if it is not there."""
        with contextlib.suppress(_Exists), self._errors(""):
            self._client.create_bucket(Bucket=self.bucket)

    def _open(self, key: str, start: int, stop: int | None, etag: str | None) -> "GetObjectOutputTypeDef":
        """The answer to a request for these bytes, its body unread.

        Raises:
            _Changed: they are no longer those of the object with this `etag`.
        """
        request: GetObjectRequestTypeDef = {"Bucket": self.bucket, "Key": key}
        if start or stop is not None:
            request["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        changed = _Changed(f"{self.uri(key)} was written over while it was read: try again.")
        try:
            with self._errors(key):
                answer = self._client.get_object(**request)
        except Corrupt:
            if etag is not None:  # what is there now is shorter
                raise changed from None
            raise
        if etag is not None and answer.get("ETag", "") != etag:
            raise changed
        if "Range" in request and "ContentRange" not in answer:
            raise unsuitable(self.endpoint, "answers a request for a part of an object with the whole")
        return answer

    @contextlib.contextmanager
    def _errors(self, key: str, unreachable: type[StoreUnreachable] = StoreUnreachable) -> Iterator[None]:
        """Translate what boto3 raises into our own errors."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            CredentialRetrievalError,
            HTTPClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            raise self._translated(key, error) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise StoreRefused(
                f"No credentials for the store at {self.endpoint} ({_abbreviated(error)}): set SLIPWAY_S3_ACCESS_KEY "
                "and SLIPWAY_S3_SECRET_KEY, or start the local stack with `make up`."
            ) from error
        except (BotoCoreError, HTTPClientError, HTTPError, ConnectionError, TimeoutError) as error:
            raise unreachable(
                f"The store at {self.endpoint} does not answer ({_abbreviated(error)}). "
                "Is it running? `slipway status` shows the local one; SLIPWAY_S3_ENDPOINT names another."
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
        if status == 416:
            return Corrupt(f"{self.uri(key)} is shorter than it should be: it is not what was written there.")
        if status == 501 or code == "NotImplemented":
            return unsuitable(self.endpoint, f"does not know a request that Slipway rests on ({code})")
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
            f"The store at {self.endpoint} did not take {self.uri(key)} ({status} {code}): {_abbreviated(error)}"
        )


def _abbreviated(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__


def _date(headers: Mapping[str, str]) -> datetime:
    """When the store says that it answered: ages must not depend on this machine's clock."""
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)

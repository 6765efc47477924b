"""A real store keeps what every store promises, and what is wrong with it is said."""

import pytest
from pydantic import SecretStr

from tasks.errors import StoreRefused, StoreUnreachable
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.store.connect import connect
from tasks.store.credentials import credentials
from tests.helpers.local import LocalStore
from tests.helpers.store_contract import StoreContract
from tests.helpers.stores import s3_client


class TestS3Store(StoreContract):
    """`store` is a real SeaweedFS."""

    def test_deleting_a_folder_ends_unfinished_uploads(self, store: Store, store_settings: Settings) -> None:
        client = s3_client(store_settings)
        for key in ("m/7/large", "m/71/large"):
            client.create_multipart_upload(Bucket=store_settings.bucket, Key=key)
        assert store.delete_all("m/7/") == 0
        left = client.list_multipart_uploads(Bucket=store_settings.bucket)
        assert [upload["Key"] for upload in left["Uploads"]] == ["m/71/large"]
        store.delete_all("m/71/")


def test_a_wrong_secret_is_refused(store_settings: Settings, store: Store) -> None:
    access = str(credentials(store_settings)[0])
    for key, secret in ((access, "wrong"), ("nobody", "wrong")):
        wrong = store_settings.model_copy(update={"s3_access_key": key, "s3_secret_key": SecretStr(secret)})
        with pytest.raises(StoreRefused, match="SLIPWAY_S3_SECRET_KEY"):
            connect(wrong).put("a", b"")


def test_a_store_that_was_stopped_is_unreachable_and_then_there_again(seaweedfs: LocalStore, store: Store) -> None:
    store.put("kept", b"data")
    seaweedfs.kill()
    with pytest.raises(StoreUnreachable, match="Is it running"):
        store.get("kept")
    seaweedfs.start()
    assert store.get("kept") == b"data"

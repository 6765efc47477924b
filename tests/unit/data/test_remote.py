from pathlib import Path

import numpy as np
import pytest

from tasks.data.remote import local_copy
from tasks.data.snapshot import take_snapshot
from tasks.errors import InvalidData
from tasks.settings import Settings
from tasks.store.base import Store
from tests.helpers.fake_s3 import FakeS3
from tests.unit.data.cases import images, labels, npz


@pytest.fixture
def settings(fake_s3: FakeS3) -> Settings:
    return Settings(
        s3_endpoint=f"http://127.0.0.1:{fake_s3.port}", s3_access_key="key", s3_secret_key="secret", call_deadline=2.0
    )


def test_a_file_in_the_store_is_taken_like_one_here(
    fake_s3: FakeS3, settings: Settings, store: Store, tmp_path: Path
) -> None:
    source = npz(tmp_path / "digits.npz", x=images(), y=labels())
    here = take_snapshot(store, settings, source, 0)
    fake_s3.objects["data/digits.npz"] = Path(source).read_bytes()
    there = take_snapshot(store, settings, "s3://others/data/digits.npz", 0)
    assert there.ref == here.ref
    assert [asked.method for asked in fake_s3.asked] == ["GET"]


def test_the_copy_is_removed(fake_s3: FakeS3, settings: Settings) -> None:
    fake_s3.objects["a.csv"] = b"x,y\n1,2\n"
    with local_copy("s3://others/a.csv", settings) as path:
        assert Path(path).read_bytes() == b"x,y\n1,2\n"
    assert not Path(path).exists()


def test_what_is_here_already_is_not_copied(settings: Settings, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[1])
    with local_copy(str(tmp_path / "a.npz"), settings) as path:
        assert path == str(tmp_path / "a.npz")
    assert Path(path).exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://others/missing.npz", "There is no object s3://others/missing.npz in the store at http"),
        ("s3://others/folder/", "names no object: expected s3://BUCKET/KEY"),
        ("s3://others", "names no object"),
    ],
)
def test_an_object_that_is_not_there_is_told(source: str, message: str, settings: Settings) -> None:
    with pytest.raises(InvalidData, match=message), local_copy(source, settings):
        pass

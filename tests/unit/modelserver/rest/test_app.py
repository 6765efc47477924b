"""Unpacking a request's body."""

import gzip

import pytest

from infra.modelserver.rest.app import unzip


@pytest.mark.parametrize("content", [b"", b"x", b"{}" * 100_000])
def test_gzip_bodies_are_unpacked(content: bytes) -> None:
    assert unzip(gzip.compress(content)) == content


@pytest.mark.parametrize(
    "body",
    [b"x", gzip.compress(b"x")[:-1], gzip.compress(b"x") + b"y", gzip.compress(b"x") * 2],
    ids=["no gzip", "cut off", "with more behind it", "two files"],
)
def test_what_is_no_single_gzip_file_is_empty(body: bytes) -> None:
    assert unzip(body) == b""

"""Telling requests of web pages from those of programs."""

import pytest

from infra.modelserver.rest.browsers import from_page, is_loopback

HOST = (b"host", b"localhost:8501")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST],
        [(b"host", b"127.0.0.1")],
        [(b"host", b"LOCALHOST:80")],
        [(b"host", b"[::1]:8501")],
        [(b"host", b"[::1]")],
        [(b"host", b"10.0.0.7:8501")],
        [(b"host", b"serving:8501")],
        [HOST, (b"sec-fetch-site", b"none")],
    ],
)
def test_a_program_may_ask(headers: list[tuple[bytes, bytes]]) -> None:
    assert not from_page(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, (b"origin", b"http://localhost:9000")],
        [HOST, (b"origin", b"null")],
        [HOST, (b"sec-fetch-site", b"same-site")],
        [HOST, (b"sec-fetch-site", b"cross-site")],
        [(b"host", b"page.example")],
        [(b"host", b"page.example:8501")],
        [(b"host", b"127.0.0.1.page.example:8501")],
        [(b"host", b"localhost.page.example")],
        [(b"host", b"")],
        [(b"host", b"page.:8501")],
        [(b"host", b"[page]")],
        [HOST, (b"host", b"page.example")],
    ],
)
def test_a_page_may_not(headers: list[tuple[bytes, bytes]]) -> None:
    assert from_page(headers)


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)]
)
def test_loopback_is_what_only_this_machine_reaches(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected

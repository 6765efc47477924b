"""Requests that a web page elsewhere may have sent are told by their headers."""

import pytest

from infra.browsers import Hosts, is_loopback, refusal

LOCAL = Hosts("127.0.0.1", 4200)


def status(headers: dict[str, str], method: str = "GET", hosts: Hosts = LOCAL) -> int | None:
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    found = refusal(method, pairs, hosts)
    return found.status if found else None


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LocalHost:4200", "[::1]:4200", "127.0.0.2:4200"])
def test_a_loopback_name_with_the_port_is_answered(host: str) -> None:
    assert status({"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "page.example",
        "page.example:4200",
        "localhost.page.example:4200",
        "127.0.0.1.page.example:4200",
        "127.0.0.1:4201",
        "127.0.0.1",
        "10.0.0.5:4200",
        "[::1",
        "127.0.0.1:4200@page.example",
        "127.0.0.1:4200/",
        "",
        "0:4200",
        "127.1:4200",
        "127.0.0.1:99999999999999999999",
        "\xff:4200",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    assert status({"Host": host}) == 421


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert status({}) == 421
    found = refusal("GET", [(b"host", b"localhost:4200"), (b"host", b"page.example")], LOCAL)
    assert found is not None


@pytest.mark.parametrize("host", ["10.0.0.5:4200", "box.example:4200", "box.example", "forwarded.example:80"])
def test_a_server_open_to_the_network_is_asked_by_whatever_name_leads_to_it(host: str) -> None:
    everywhere = Hosts("0.0.0.0", 4200)
    assert status({"Host": host}, hosts=everywhere) is None
    assert status({"Host": host, "Origin": f"http://{host}"}, hosts=everywhere) is None
    assert status({"Host": host, "Origin": "http://page.example"}, hosts=everywhere) == 403


def test_port_80_need_not_be_named() -> None:
    assert status({"Host": "localhost"}, hosts=Hosts("127.0.0.1", 80)) is None


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:4200", None),
        ("HTTP://127.0.0.1:4200", None),
        ("http://127.0.0.1:4201", 403),
        ("http://localhost:4200", 403),  # another origin to a browser, even if it is the same server
        ("https://127.0.0.1:4200", 403),
        ("http://page.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_only_the_servers_own_origin_may_ask(origin: str, expected: int | None) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert status({"Host": "127.0.0.1:4200", "Origin": origin}, method) == expected


@pytest.mark.parametrize(("site", "expected"), [("same-origin", None), ("none", None), ("same-site", 403), ("x", 403)])
def test_the_browsers_own_word_on_where_a_request_comes_from_counts(site: str, expected: int | None) -> None:
    assert status({"Host": "127.0.0.1:4200", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}) == expected


def test_a_link_may_be_followed_but_not_into_a_frame_nor_by_a_form() -> None:
    link = {"Host": "127.0.0.1:4200", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert status(link | {"Sec-Fetch-Dest": "document"}) is None
    assert status(link | {"Sec-Fetch-Dest": "document"}, "POST") == 403
    assert status(link | {"Sec-Fetch-Dest": "iframe"}) == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((name, True) for name in ("localhost", "127.0.0.1", "127.9.9.9", "::1")),
        *((name, False) for name in ("0.0.0.0", "::", "10.0.0.1", "box", "localhost.box")),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

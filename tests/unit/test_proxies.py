"""Proxies of the environment, and what never goes through them."""

import urllib.request

import httpx
import pytest
import requests.utils
from botocore.utils import get_environ_proxies

from tasks.proxies import stay_local

PROXY = "http://127.0.0.1:9"
LOCAL = ("http://localhost:5000/", "http://127.0.0.1:18333/b", "http://192.0.2.7:4200/api")


def test_what_the_user_excepts_stays_excepted_in_both_spellings() -> None:
    environment = {"no_proxy": "corp.example, .internal", "NO_PROXY": "10.0.0.1,corp.example"}
    stay_local(environment, "192.0.2.7")
    wanted = "corp.example,.internal,10.0.0.1,localhost,127.0.0.1,::1,192.0.2.7"
    assert environment == {"no_proxy": wanted, "NO_PROXY": wanted}
    stay_local(environment, "192.0.2.7")
    assert environment["no_proxy"] == wanted


def test_who_excepts_everything_goes_on_excepting_everything() -> None:
    environment = {"NO_PROXY": "*"}
    stay_local(environment)
    assert environment == {"no_proxy": "*", "NO_PROXY": "*"}


def test_grpcs_own_exceptions_are_kept_too_where_there_are_any() -> None:
    environment = {"no_grpc_proxy": "far.example"}
    stay_local(environment)
    assert environment["no_grpc_proxy"] == "far.example,localhost,127.0.0.1,::1"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_client_asks_a_proxy_for_this_machine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: PROXY, "no_proxy": "corp.example"}
    stay_local(environment, "192.0.2.7")
    for spelling in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(spelling, raising=False)
        monkeypatch.delenv(spelling.upper(), raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with httpx.Client() as client:
        direct = client._transport
        for url in LOCAL:
            assert requests.utils.get_environ_proxies(url) == {}
            assert get_environ_proxies(url) == {}
            assert urllib.request.proxy_bypass(url.split("/")[2].partition(":")[0])
            assert client._transport_for_url(httpx.URL(url)) is direct
        assert client._transport_for_url(httpx.URL("http://far.example/")) is not direct


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "https_proxy"])
def test_a_socks_proxy_that_no_client_can_speak_to_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: "socks5h://user:hush@127.0.0.1:1080", "http_proxy": PROXY}
    stay_local(environment)
    assert name not in environment
    assert environment["http_proxy"] == PROXY
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    environment[name] = "socks5://127.0.0.1:1080"
    stay_local(environment)
    assert name in environment

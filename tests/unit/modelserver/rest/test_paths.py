"""Which request a method and a path stand for."""

import pytest

from infra.modelserver.errors import StatusError
from infra.modelserver.rest import paths
from infra.modelserver.rest.paths import BadVersion, Route, route


@pytest.mark.parametrize(
    ("method", "uri", "expected"),
    [
        ("POST", "/v1/models/m:predict", Route("predict", "m", None, None)),
        ("POST", "/v1/models/m/versions/7:classify", Route("classify", "m", 7, None)),
        ("POST", "/v1/models/m/versions/007:predict", Route("predict", "m", 7, None)),
        ("POST", "/v1/models/m/labels/stable:regress", Route("regress", "m", None, "stable")),
        ("POST", "/V1/MODELS/m:predict", Route("predict", "m", None, None)),
        ("POST", "/v1/models/a%20b%2Fc:predict", Route("predict", "a b/c", None, None)),
        ("POST", "/v1/models/m/labels/%C3%A9:predict", Route("predict", "m", None, "é")),
        ("GET", "/v1/models/m", Route("status", "m", None, None)),
        ("GET", "/v1/models/m/versions/2", Route("status", "m", 2, None)),
        ("GET", "/v1/models/m/labels/x", Route("status", "m", None, "x")),
        ("GET", "/v1/models/m/metadata", Route("metadata", "m", None, None)),
        ("GET", "/v1/models/m/versions/3/metadata", Route("metadata", "m", 3, None)),
        ("GET", "/v1/models/m/METADATA", Route("status", "m", None, None)),
        ("GET", "/v1/models", Route("status", "", None, None)),
        ("GET", "/v1/models/versions/3", Route("status", "", 3, None)),
        ("GET", "/v1/models/metadata", Route("status", "metadata", None, None)),
        ("GET", "/v1/models/m?x=1", Route("status", "m?x=1", None, None)),
    ],
)
def test_a_path_means_what_it_means_to_tensorflow_serving(method: str, uri: str, expected: Route) -> None:
    assert route(method, uri) == expected


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/m/versions/abc:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict/"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/versions/1/extra"),
        ("PUT", "/v1/models/m:predict"),
        ("HEAD", "/v1/models/m"),
    ],
)
def test_a_path_that_means_nothing_is_quoted(method: str, uri: str) -> None:
    with pytest.raises(StatusError) as raised:
        route(method, uri)
    assert raised.value.message == f"Malformed request: {method} {uri}"


@pytest.mark.parametrize("version", ["9223372036854775808", "9" * 5000])
def test_a_version_beyond_int64_is_refused(version: str) -> None:
    with pytest.raises(BadVersion):
        route("GET", f"/v1/models/m/versions/{version}")


@pytest.mark.parametrize("uri", ["/v1/models/a b", '/v1/models/"', "/v1/models/%zz", "/v1/%", "/é", "/v1/models/m#x"])
def test_what_is_no_uri_is_told_apart(uri: str) -> None:
    assert not paths.is_valid_uri(uri)


@pytest.mark.parametrize("uri", ["/v1/models/m:predict", "/", "", "/v1/models/%41?a=b&c=/?", "/V1/x"])
def test_what_is_a_uri_is_taken(uri: str) -> None:
    assert paths.is_valid_uri(uri)


def test_only_paths_under_v1_are_ours() -> None:
    assert paths.is_ours("/V1/anything")
    assert not paths.is_ours("/v1")
    assert not paths.is_ours("/v2/models/m")

"""Which environment variables each program of the stack sees: what it needs, and no other keys of the user."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from tasks.settings import SUPERVISED

_ORDINARY = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("NO_COLOR", "PYTHONUNBUFFERED", SUPERVISED),
)


def visible(inherited: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The variables of `inherited` that every program may see, and those that `names` match (`AWS_*` for several)."""
    wanted = (*_ORDINARY, *names)
    return {name: value for name, value in inherited.items() if any(fnmatchcase(name, seen) for seen in wanted)}

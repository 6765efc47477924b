"""Run Prefect's server behind the stack's guard: `python -m infra.stack.prefect_server HOST PORT LOGIN_FILE`.

Prefect's own settings do not suffice: CORS leaves WebSockets and simple requests open, and it does not check Host.
"""

import os
import sys
from pathlib import Path

from infra.browsers import Hosts
from infra.stack.guard import Guard


def main(host: str, port: int, login: str) -> None:
    """Serve until SIGTERM or SIGINT, as `prefect server start` does with one worker."""
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = login  # so that its UI and its WebSockets ask for it
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    # Around the application, not a middleware of it: the server's own services call it too, by another host name.
    uvicorn.run(
        Guard(create_app(final=True), Hosts(host, port), login, open_paths=None),
        host=host,
        port=port,
        proxy_headers=False,  # or a request could claim to come from another client
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).read_text().strip())

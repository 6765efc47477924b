"""Run MLflow's server behind the stack's guard.

`python -m infra.stack.mlflow_server HOST PORT LOGIN_FILE BACKEND ARTIFACTS`. MLflow's own settings do not suffice:
pages of any port of localhost may always write, and its log-in needs a database of users.
"""

import os
import sys
from pathlib import Path

from infra.browsers import Hosts
from infra.stack.guard import Guard

_OPEN = ("/health", "/version")


def main(host: str, port: int, login: str, backend: str, artifacts: str) -> None:
    """Serve until SIGTERM or SIGINT, as `mlflow server --workers 1` does in a process below its own."""
    from mlflow.server import constants, handlers

    root = "mlflow-artifacts:/"
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: backend,
        constants.REGISTRY_STORE_URI_ENV_VAR: backend,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts,
        # The guard has checked both before.
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://*:{port}",
    }
    handlers.initialize_backend_stores(backend, backend, root)
    import uvicorn
    from mlflow.server.fastapi_app import app

    uvicorn.run(Guard(app, Hosts(host, port), login, _OPEN), host=host, port=port, proxy_headers=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).read_text().strip(), *sys.argv[4:])

"""Whether the flows must be deployed again."""

from pathlib import Path

from infra.stack.deployments import DECLARATION, ROOT, declared, deployed, fingerprint
from tasks.settings import Settings

NOBODY = "http://127.0.0.1:9/api"


def test_the_declared_deployments_are_named(tmp_path: Path) -> None:
    declaration = tmp_path / "prefect.yaml"
    declaration.write_text("deployments:\n  - name: release\n    entrypoint: flows.release.release\n  - name: train\n")
    assert declared(declaration) == {"release", "train"}
    declaration.write_text("")
    assert declared(declaration) == set()


def test_what_is_deployed_is_the_prefect_yaml_at_the_top_of_the_repository() -> None:
    assert DECLARATION.samefile(ROOT / "prefect.yaml")


def test_a_server_that_does_not_answer_has_no_deployments(tmp_path: Path) -> None:
    assert deployed(Settings(home=tmp_path, prefect_url=NOBODY)) == set()


def test_the_fingerprint_changes_with_any_file_and_not_with_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("two")
    before = fingerprint([first, second])
    first.touch()
    assert fingerprint([first, second]) == before
    second.write_text("three")
    assert fingerprint([first, second]) != before

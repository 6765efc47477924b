"""Whether the flows must be deployed again."""

from pathlib import Path

from infra.stack.deployments import declared, deploy, deployed, fingerprint
from tasks.settings import Settings

NOBODY = "http://127.0.0.1:9/api"


def test_the_declared_deployments_are_named(tmp_path: Path) -> None:
    declaration = tmp_path / "prefect.yaml"
    declaration.write_text("deployments:\n  - name: release\n    entrypoint: flows.release.release\n  - name: train\n")
    assert declared(declaration) == {"release", "train"}
    declaration.write_text("")
    assert declared(declaration) == set()


def test_without_a_declaration_there_is_nothing_to_deploy(tmp_path: Path) -> None:
    assert not deploy(Settings(home=tmp_path), print, root=tmp_path)


def test_a_server_that_does_not_answer_has_no_deployments() -> None:
    assert deployed(NOBODY) == set()


def test_the_fingerprint_changes_with_any_file_and_not_with_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("two")
    before = fingerprint([first, second])
    first.touch()
    assert fingerprint([first, second]) == before
    second.write_text("three")
    assert fingerprint([first, second]) != before

"""What a deployment's run may name."""

from pathlib import Path

import pytest

from tasks.errors import InvalidInput
from tasks.limits import Limits
from tasks.settings import Settings

DECLARATION = """
deployments:
  - name: release
    parameters: {model: Shop, factory: "shop.models:make", data: nightly.npz}
    schedules: [{cron: "0 3 * * *", parameters: {data: /data/night.npz, epochs: 3}}]
    triggers: [{parameters: {data: "{{ event.payload.data }}"}}]
  - name: reconcile
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "digits.npz").write_text("")
    (tmp_path / "secret.npz").write_text("")
    return folder


def limits(project: Path, **settings: str) -> Limits:
    return Limits.of(Settings(project=project, **settings), declaration=project / "prefect.yaml")  # type: ignore[arg-type]


def test_unless_set_the_examples_may_be_called_and_the_project_read(project: Path) -> None:
    mine = limits(project)
    mine.require_factory("tasks.models:mlp")
    assert mine.path("data", "digits.npz") == str(project / "digits.npz")
    assert mine.path("data", str(project / "absent.npz")) == str(project / "absent.npz")
    with pytest.raises(InvalidInput, match=r"'os:abort' is not .*SLIPWAY_FACTORIES: tasks\.models.*`slipway up`"):
        mine.require_factory("os:abort")


def test_what_prefect_yaml_names_itself_is_allowed(project: Path) -> None:
    (project / "prefect.yaml").write_text(DECLARATION)
    mine = limits(project)
    assert mine.factories == ("tasks.models", "shop.models:make")
    assert mine.roots == (project, project / "nightly.npz", Path("/data/night.npz"))
    assert mine.path("data", "/data/night.npz") == "/data/night.npz"
    with pytest.raises(InvalidInput, match=r"shop\.models:other"):
        mine.require_factory("shop.models:other")


@pytest.mark.parametrize("spec", ["shop:make", "shop.models:make", "shop.models.deep:make", "stall.small:make"])
def test_a_setting_allows_a_package_with_all_below_it_or_one_function(project: Path, spec: str) -> None:
    limits(project, factories="shop, stall.small:make").require_factory(spec)


@pytest.mark.parametrize(
    "spec", ["shopping:make", "tasks.models:mlp", "stall.small:other", "shop", "", ":make", "os:shop"]
)
def test_a_setting_allows_nothing_else(project: Path, spec: str) -> None:
    mine = limits(project, factories="shop.models,stall.small:make")
    with pytest.raises(InvalidInput, match="SLIPWAY_FACTORIES"):
        mine.require_factory(spec)


@pytest.mark.parametrize(
    "given", ["../secret.npz", "./a/../../secret.npz", "{outside}/secret.npz", "/", "link.npz", "up/secret.npz"]
)
def test_a_path_that_leads_out_of_the_folders_is_refused(project: Path, given: str) -> None:
    (project / "link.npz").symlink_to(project.parent / "secret.npz")
    (project / "up").symlink_to("..")
    with pytest.raises(InvalidInput, match=r"data=.*SLIPWAY_DATA_ROOTS: .*`slipway up`"):
        limits(project).path("data", given.format(outside=project.parent))


def test_other_folders_may_be_allowed_instead(project: Path) -> None:
    link = project.parent / "link"
    link.symlink_to(project)
    other = project.parent / "other"
    other.mkdir()
    mine = limits(project, data_roots=f"{other}, {link}")
    assert mine.path("data", f"{other}/a.npz") == f"{other}/a.npz"
    mine.path("data", f"{project}/a.npz")
    with pytest.raises(InvalidInput, match=r"secret\.npz"):
        mine.path("data", "../secret.npz")
    assert limits(project, data_roots="data").roots == (project / "data",)


def test_a_file_that_is_not_in_the_project_is_refused_with_the_setting_that_names_the_project(project: Path) -> None:
    with pytest.raises(
        InvalidInput, match=rf"data='absent\.npz' is not found in {project}, .*SLIPWAY_PROJECT.*`slipway up`"
    ):
        limits(project).path("data", "absent.npz")


def test_a_name_that_only_begins_like_a_folder_is_outside_of_it(project: Path) -> None:
    with pytest.raises(InvalidInput, match="project2"):
        limits(project).path("data", f"{project}2/digits.npz")


def test_a_path_that_cannot_be_is_refused(project: Path) -> None:
    with pytest.raises(InvalidInput, match="data="):
        limits(project).path("data", "null\0byte")

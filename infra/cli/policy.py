"""The command `policy`, and the option `--policy` of others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from infra.cli.help import example
from infra.cli.options import Json, Model
from infra.cli.output import print_json, print_page
from tasks import names
from tasks import policy as policies
from tasks.errors import InvalidInput, NotFound
from tasks.policy import Policy
from tasks.reports.figures import moment
from tasks.reports.page import Column, Page, paragraph, table
from tasks.settings import settings

if TYPE_CHECKING:
    from tasks.store.base import Store


@example("slipway policy MLP set policy.toml")
def policy(
    model: Model,
    action: Annotated[
        Literal["show", "set"], typer.Argument(help="set: replace the model's own policy by what FILE says.")
    ] = "show",
    file: Annotated[
        Path | None, typer.Argument(help="TOML or JSON; what it does not name, the settings decide.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", help="Show the rule that counted for this version instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show by which rule a model's versions pass, and where each value comes from; or set the model's own."""
    from tasks.store.connect import connect
    from tasks.versions.policies import choose_policy, model_policy, set_policy

    if (action == "set") != (file is not None):
        raise InvalidInput("`slipway policy MODEL set FILE` needs a file, and `slipway policy MODEL show` takes none.")
    if version is not None and file is not None:
        raise InvalidInput("The rule that counted for a version cannot be set: leave out --version.")
    names.model_name(model)
    store = connect(settings())
    if version is not None:
        _show_kept(store, model, version, as_json)
        return
    if file is not None:
        set_policy(store, settings(), model, policies.read_values(file), str(file))
    found, own = choose_policy(store, settings(), model), model_policy(store, model)
    named = policies.flat(own.values) if own is not None else {}
    rows = [
        (name, value, "the model's own" if name in named else policies.origin(name, settings()))
        for name, value in policies.flat(found.values()).items()
    ]
    if as_json:
        print_json({"policy": found, "own": own, "from": {name: origin for name, _, origin in rows}})
        return
    when = [paragraph(f"It was set at {moment(own.time)} UTC.")] if own is not None else []
    columns = (Column("value"), Column("is", "prose"), Column("from", "prose"))
    print_page(Page(f"Policy of {model}", (table(columns, [tuple(map(str, row)) for row in rows]), *when)))


def _show_kept(store: "Store", model: str, version: int, as_json: bool) -> None:
    """Show the policy that is kept with a version's verdict."""
    from tasks.versions.catalog import version as published_version

    verdict = published_version(store, model, version).verdict
    if verdict is None or verdict.policy is None:
        raise NotFound(
            f"No rule is kept with {model} version {version}: no rollout has decided about it, or one of Slipway 0.2.0 "
            "or earlier, or it was pruned."
        )
    if as_json:
        print_json({"policy": verdict.policy, "verdict": verdict})
        return
    values = [(name, str(value)) for name, value in policies.flat(verdict.policy.values()).items()]
    said = f"{model} version {version} was {verdict.state} at {moment(verdict.time)} UTC: {verdict.reason}."
    columns = (Column("value"), Column("was", "prose"))
    print_page(Page(f"Policy that counted for {model} {version}", (table(columns, values), paragraph(said))))


def given_policy(file: Path | None) -> dict[str, Any] | None:
    """The values in the file of the option `--policy`, all of which are known and can be; None without the option.

    Raises:
        InvalidInput: the file cannot be read, or holds a value that is not known or cannot be.
    """
    if file is None:
        return None
    values = policies.read_values(file)
    Policy.of(settings()).changed(values, str(file))
    return values

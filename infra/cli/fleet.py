"""Commands about a fleet: plan, replicas, history, fleet, reconcile, prune."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from infra.cli.flow_runs import running_flows
from infra.cli.help import example
from infra.cli.options import Fleet, FleetName, Json, Model, PolicyFile, StrategyOption, Version
from infra.cli.output import print_json, print_page
from infra.cli.policy import given_policy
from tasks import names
from tasks.settings import settings


@example("slipway plan MLP 7 --strategy labels")
def plan(
    model: Model,
    version: Version,
    fleet: Fleet = None,
    strategy: StrategyOption = "blue-green",
    policy: PolicyFile = None,
    as_json: Json = False,
) -> None:
    """Show what a rollout would load, unload and relabel on each replica, and its steps; nothing is changed."""
    from tasks.delivery.preview import preview_rollout
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.reports import pages
    from tasks.versions.policies import choose_policy

    names.model_name(model)
    given, connected = given_policy(policy), ConnectedFleet.connect(settings(), fleet)
    rule = choose_policy(connected.store, settings(), model, given)
    found = preview_rollout(connected, model, version, strategy, rule)
    if as_json:
        print_json(found)
    else:
        print_page(pages.plan(found))


@example("slipway replicas default")
def replicas(
    fleet: FleetName = None,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="REPLICA", help="Remove the report of this replica, which is gone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List a fleet's replicas and what they serve; exit code 1 unless all that report are ready."""
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.replicas import forget_replica, no_replica_message, replica_states
    from tasks.reports import pages

    mine = ConnectedFleet.connect(settings(), fleet)
    if forget is not None:
        forget_replica(mine, forget)
        print(f"Replica {forget} of fleet {mine.name} is forgotten. If it lives, it reports again.")
        return
    found = replica_states(mine)
    reporting = [s for s in found if s.state != "silent"]
    if as_json:
        print_json([{"state": s.state, "silent": s.silent, "labels": s.labels, "report": s.report} for s in found])
    elif not found:
        print(no_replica_message(mine))
    else:
        print_page(pages.replicas(mine.name, mine.newest().number, found))
    raise typer.Exit(0 if reporting and all(s.state == "ready" for s in reporting) else 1)


@example("slipway history default --last 5")
def history(
    fleet: FleetName = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many of the newest configs.")] = 20,
    as_json: Json = False,
) -> None:
    """List a fleet's configs, newest first: when, by which run and why each was written, and what it changed."""
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.history import fleet_history
    from tasks.fleet.replicas import unknown_message
    from tasks.reports import pages

    mine = ConnectedFleet.connect(settings(), fleet)
    found = fleet_history(mine, last)
    if as_json:
        print_json(found)
    elif not found and (unknown := unknown_message(mine)):
        print(unknown)
    else:
        print_page(pages.history(mine.name, found))


@example("slipway fleet restore default")
def fleet(
    action: Annotated[
        Literal["restore", "sign"],
        typer.Argument(help="restore: write what its replicas serve. sign: sign what its newest config says."),
    ],
    name: FleetName = None,
) -> None:
    """Bring back the state of a fleet that the store has lost; or sign a state that an earlier release wrote.

    Look at `slipway replicas` or `slipway history` first: what a replica reports, or who wrote a config that is not
    signed, is not known.
    """
    from tasks.fleet import lost
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.replicas import reports

    mine = ConnectedFleet.connect(settings(), name)
    written = lost.sign(mine) if action == "sign" else lost.restore(mine, reports(mine))
    served = ", ".join(entry.name for entry in written.models.model_config_list.config) or "nothing"
    print(f"Fleet {mine.name} is at config {written.number} and serves {served}.")


@example("slipway reconcile --fleet default")
def reconcile(
    fleet: Fleet = None,
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear", metavar="MODEL", help="Remove the record of this model's rollout, if it is unreadable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Finish or abort the rollouts of a fleet whose run has died."""
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.replicas import unknown_message

    if clear is not None:
        from tasks.delivery.recover import clear_unreadable

        print(clear_unreadable(ConnectedFleet.connect(settings(), fleet), names.model_name(clear)))
        return
    with running_flows():
        from flows.reconcile import reconcile as flow

        done: Sequence[str] = flow(fleet or settings().fleet)
    if as_json:
        print_json(done)
    elif done:
        print("\n".join(done))
    else:
        mine = ConnectedFleet.connect(settings(), fleet)
        print(unknown_message(mine) or f"Fleet {mine.name} has no rollout whose run has died.")


@example("slipway prune MLP --keep 5")
def prune(
    model: Model,
    keep: Annotated[
        int, typer.Option("--keep", help="How many of the newest versions stay; rejected ones don't count.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only listed.")] = False,
    as_json: Json = False,
) -> None:
    """List the versions that nothing needs any more, and with --yes delete them; their numbers are never used again."""
    names.model_name(model)
    if yes:
        with running_flows():
            from flows.prune import prune as flow

            found = flow(model, keep, yes=True)
    else:
        from tasks.delivery.prune import choose_versions
        from tasks.store.connect import connect

        found = choose_versions(connect(settings()), settings(), model, keep)
    if as_json:
        print_json(found)
        return
    from tasks.reports import pages

    print_page(pages.pruning(found))
    if found.going and not yes:
        print(f"\nNothing was deleted. `slipway prune {model} --keep {keep} --yes` deletes {len(found.going)}.")
    elif len(found.deleted) < len(found.going):
        print(f"\n{len(found.going) - len(found.deleted)} more would have gone, but something needs them now.")

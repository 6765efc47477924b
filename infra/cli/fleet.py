"""Commands about a fleet: plan, replicas, history, reconcile, prune."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.flow_runs import running_flows
from infra.cli.help import example
from infra.cli.options import Fleet, FleetName, Json, Model, PolicyFile, StrategyOption, Version
from infra.cli.output import print_json, print_table, size_text
from infra.cli.policy import given_policy
from tasks import names
from tasks.settings import settings

if TYPE_CHECKING:
    from tasks.delivery.preview import Preview
    from tasks.delivery.prune import Pruning


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
    from tasks.versions.policies import choose_policy

    names.model_name(model)
    given, connected = given_policy(policy), ConnectedFleet.connect(settings(), fleet)
    rule = choose_policy(connected.store, settings(), model, given)
    found = preview_rollout(connected, model, version, strategy, rule)
    if as_json:
        print_json(found)
    else:
        _print_plan(found)


def _print_plan(found: "Preview") -> None:
    from tasks.delivery.plan import ABOUT_MEMORY, ABOUT_ROUTES, routes_table

    serves = f"version {found.live} serves" if found.live is not None else "no version serves"
    mine = found.plan
    print(f"{mine.model} version {mine.version} to fleet {found.fleet}, strategy {mine.strategy}, from config ", end="")
    print(f"{mine.config}: {serves} now.\n")
    if found.replicas:
        print_table(
            ["STAGE", "REPLICA", "LOADS", "UNLOADS", "MOVES LABELS", "PEAK MEMORY"],
            [
                (
                    change.stage,
                    replica.replica,
                    ", ".join(change.loads),
                    ", ".join(change.unloads),
                    ", ".join(change.relabels),
                    size_text(memory),
                )
                for stage in zip(*(zip(r.changes, r.memory, strict=True) for r in found.replicas), strict=True)
                for replica, (change, memory) in zip(found.replicas, stage, strict=True)
            ],
        )
        print()
    header, routes = routes_table(mine)
    print_table([word.upper() for word in header], routes)
    print(f"{ABOUT_ROUTES}\n")
    if found.replicas:
        for replica in found.replicas:
            beside = f"; not counted: {', '.join(replica.uncounted)}" if replica.uncounted else ""
            print(f"{replica.replica} downloads {size_text(replica.downloads)} first{beside}.")
        print(f"{ABOUT_MEMORY}\n")
    for number, line in enumerate(found.steps, 1):
        print(f"{number}. {line}")
    for warning in found.warnings:
        print(f"\nNote: {warning}")


@example("slipway replicas default")
def replicas(fleet: FleetName = None, as_json: Json = False) -> None:
    """List a fleet's replicas and what they serve; exit code 1 unless all that report are ready."""
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.replicas import no_replica_message, replica_states

    mine = ConnectedFleet.connect(settings(), fleet)
    found = replica_states(mine)
    reporting = [s for s in found if s.state != "silent"]
    if as_json:
        print_json([{"state": s.state, "silent": s.silent, "labels": s.labels, "report": s.report} for s in found])
    elif not found:
        print(no_replica_message(mine))
    else:
        print_table(
            ["REPLICA", "STATE", "CONFIG", "SERVES", "REST", "GRPC", "REPORTED", "ERROR"],
            [
                (
                    s.report.replica,
                    s.state,
                    s.report.config,
                    s.serves,
                    s.report.rest_url,
                    s.report.grpc_address,
                    f"{s.silent:.0f} s ago",
                    s.report.error,
                )
                for s in found
            ],
        )
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

    mine = ConnectedFleet.connect(settings(), fleet)
    found = fleet_history(mine, last)
    if as_json:
        print_json(found)
    elif not found:
        print(unknown_message(mine) or f"Fleet {mine.name} has no config: nothing was ever rolled out to it.")
    else:
        print_table(
            ["CONFIG", "TIME (UTC)", "RUN", "WHY", "CHANGED"],
            [
                (
                    change.number,
                    f"{change.time:%Y-%m-%d %H:%M:%S}" if change.time else "",
                    change.run,
                    change.note,
                    "; ".join(change.changes) or "nothing",
                )
                for change in found
            ],
        )


@example("slipway reconcile --fleet default")
def reconcile(fleet: Fleet = None, as_json: Json = False) -> None:
    """Finish or abort the rollouts of a fleet whose run has died."""
    from tasks.fleet.config import Fleet as ConnectedFleet
    from tasks.fleet.replicas import unknown_message

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
    else:
        _print_pruning(found, keep, yes)


def _print_pruning(found: "Pruning", keep: int, yes: bool) -> None:
    fates = {True: "is deleted" if yes else "would go", False: "stays"}
    print_table(
        ["VERSION", "STATE", "SIZE", "", "WHY"],
        [
            (
                f.version,
                f.state,
                size_text(f.size),
                fates[f.version in found.deleted if yes else not f.kept],
                "; ".join(f.kept),
            )
            for f in found.fates
        ],
    )
    going = [f for f in found.going if not yes or f.version in found.deleted]
    freed = size_text(sum(fate.size for fate in going))
    if yes:
        print(f"\n{len(going)} versions deleted, {freed}.")
    elif going:
        print(
            f"\nNothing was deleted. `slipway prune {found.model} --keep {keep} --yes` deletes {len(going)}, {freed}."
        )
    else:
        print("\nNothing would be deleted.")

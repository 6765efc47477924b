"""Print the line coverage of each package, and each module of less than 90 %: run with the JSON report of coverage."""

import json
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath

ENOUGH = 0.9


def main(report: Path) -> None:
    """Print the table."""
    packages: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for name, file in json.loads(report.read_text())["files"].items():
        path = PurePosixPath(name)
        summary = file["summary"]
        packages[str(path.parent)][path.stem] = (summary["covered_lines"], summary["num_statements"])
    print(f"{'PACKAGE':<28}{'LINES':>7}{'COVERED':>9}  MODULES BELOW {ENOUGH:.0%}")
    for package, modules in sorted(packages.items()):
        low = [f"{name} {share(count)}" for name, count in sorted(modules.items()) if count[0] < ENOUGH * count[1]]
        print(row(package, [*modules.values()], ", ".join(low)))
    print(row("all", [count for modules in packages.values() for count in modules.values()]))


def row(name: str, counts: list[tuple[int, int]], note: str = "") -> str:
    """A line of the table; each count is the covered lines of a module, and all that it has."""
    total = sum(covered for covered, _ in counts), sum(lines for _, lines in counts)
    return f"{name:<28}{total[1]:>7}{share(total):>9}  {note}".rstrip()


def share(count: tuple[int, int]) -> str:
    """As a percentage."""
    return f"{count[0] / count[1]:.0%}" if count[1] else "-"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

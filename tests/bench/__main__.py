"""`make bench`: every measurement in one table. Run it on a quiet machine; the ratios are what counts."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import tests.bench


def main() -> None:
    """Run the modules named on the command line (``wire``), or all, and print one table."""
    wanted = sys.argv[1:]
    table = Table(title="Brushwire, measured in one run")
    for column in ("what", "ours", "against", "theirs", "ratio", "bound", ""):
        table.add_column(column, justify="left" if column in ("what", "against", "bound") else "right")
    for info in pkgutil.iter_modules(tests.bench.__path__):
        if not info.name.startswith("bench_") or (wanted and info.name.removeprefix("bench_") not in wanted):
            continue
        for row in importlib.import_module(f"tests.bench.{info.name}").rows():
            mark = "" if row.holds is None else "yes" if row.holds else "NO"
            ours, theirs = f"{row.ours:.4g} {row.unit}", f"{row.theirs:.4g} {row.unit}"
            table.add_row(row.what, ours, row.against, theirs, f"{row.ratio:.3g}", row.bound, mark)
            print(f"{row.what}: {ours}, {row.against}: {theirs}", file=sys.stderr)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()

"""How long the command line takes to say something: `realm --help`, beside an empty command and Python doing nothing.

    python benchmarks/front_door.py [--repeats 15]

Each is a process of its own; printed are medians of processor time (user and system, of all threads), the wanted limit
for `--help` (0.4 s), and the ratio to a typer command without options. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

LIMIT_SECONDS = 0.4
TYPER = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "an empty typer command --help": ["-c", TYPER],
    "realm --help": ["-m", "realm", "--help"],
}


def processor_seconds(arguments: list[str]) -> float:
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def main() -> None:
    """Measure in turn, so that whatever slows the machine slows all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            seconds[name].append(processor_seconds(arguments))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    for name, median in medians.items():
        print(f"{name:32} {median:.3f} s")
    ratio = medians["realm --help"] / medians["an empty typer command --help"]
    print(f"realm --help: {ratio:.2f} times the empty command; wanted: at most {LIMIT_SECONDS} s")


if __name__ == "__main__":
    main()

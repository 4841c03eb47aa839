"""Print how close our classes are to transformers 4.37.2: class, values, largest difference.

    python tools/parity_table.py

Every value of every golden call is compared, eager and sdpa: outputs, hidden states, attentions, losses,
gradients of all parameters, tuple order, error messages, tokens and ids. Exits with 1 above 2e-5.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))

from comparison import ALLOWED, every_network_check, failures
from retriever_comparison import every_retriever_check
from tokenizer_comparison import every_tokenizer_check


def main() -> int:
    """Compare, print the table, then what failed."""
    rows: dict[str, list[Any]] = defaultdict(list)
    for checks in (every_tokenizer_check, every_network_check, every_retriever_check):
        for check in checks():
            rows[check.class_name].append(check)
    print(f"{'class':<28}{'values':>8}{'exact':>8}{'largest difference':>22}{'failed':>8}")
    for name, made in sorted(rows.items()):
        largest = max(check.difference for check in made)
        exact = sum(check.exact for check in made)
        failed = sum(not check.passed for check in made)
        print(f"{name:<28}{len(made):>8,}{exact:>8,}{largest:>22.1e}{failed:>8}")
    print(f"\nAllowed: {ALLOWED:.0e} for fp32 values, none for ids, spans, booleans, order and messages.")
    everything = [check for made in rows.values() for check in made]
    print(failures(everything), end="")
    return int(any(not check.passed for check in everything))


if __name__ == "__main__":
    sys.exit(main())

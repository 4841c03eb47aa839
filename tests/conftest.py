"""What holds for every test: no network, no randomness from outside, shapes checked.

Sockets are closed except loopback (`--allow-hosts` in pyproject.toml), and warnings are errors.
"""

from __future__ import annotations

import os
import random
import sys

# Order: read when transformers and tokenizers are first imported, so these stand before anything else.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Networks here are tiny: a second thread only waits, and on a busy machine for a long time.
os.environ["OMP_NUM_THREADS"] = "1"

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

# Shapes are types here: a loss that is handed, or returns, another shape than its signature says fails.
jaxtyping.install_import_hook(["realm.models.losses", "realm.models.masked_losses"], "beartype.beartype")

# A time limit would fail on a busy machine; the same examples every time make a failure repeatable.
settings.register_profile("realm", deadline=None, derandomize=True, database=None)
settings.load_profile("realm")

SEED = 20200210


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Start every test from the same random state. torch is seeded only where a test has loaded it."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)

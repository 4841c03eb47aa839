"""Cores: all parts are done, each with one thread of torch, and the process's own number of threads stays."""

from __future__ import annotations

import pytest
import torch

from realm.models.cores import Cores


def test_every_part_is_done_once_with_one_thread_each() -> None:
    before = torch.get_num_threads()
    done: list[tuple[int, int]] = []
    cores = Cores()
    cores.run(lambda part: done.append((part, torch.get_num_threads())), range(20))
    assert sorted(done) == [(part, 1) for part in range(20)]
    assert cores.count == torch.get_num_threads() == before


def test_an_error_in_a_part_is_raised() -> None:
    def work(part: int) -> None:
        if part == 3:
            raise ValueError("part 3")

    with pytest.raises(ValueError, match="part 3"):
        Cores().run(work, range(10))

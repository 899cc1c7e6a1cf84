"""Independent random streams: one for each seed and purpose, the same on every machine."""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
import torch

from fanin.streams import generator, stream_seed

PURPOSES = ("init", "data", "dropout", "augment", "probe")


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**40])
@pytest.mark.parametrize("purpose", [("init",), ("data", 3), ("init", "linear_1.weight")])
def test_the_seed_is_the_first_63_bits_of_sha_256(seed: int, purpose: tuple[str | int, ...]) -> None:
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).hexdigest()
    assert stream_seed(seed, *purpose) == int(digest[:16], 16) // 2
    assert 0 <= stream_seed(seed, *purpose) < 2**63


def test_no_two_streams_share_a_seed() -> None:
    names = [(purpose,) for purpose in PURPOSES] + [("data", epoch) for epoch in range(50)]
    names += [("init", f"linear_{layer}.{kind}") for layer in range(1, 51) for kind in ("weight", "bias")]
    seeds = [stream_seed(seed, *name) for seed in range(100) for name in names]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streams_of_one_seed_are_uncorrelated(seed: int) -> None:
    """Seed 0 is a seed like any other."""
    count = 4000
    draws = [torch.randn(count, generator=generator(seed, purpose), dtype=torch.float64) for purpose in PURPOSES]
    for first, second in itertools.combinations(draws, 2):
        # the correlation of independent normals has a standard deviation of 1/sqrt(count); 30 pairs stay within 4
        assert abs(float(first @ second) / count) < 4 / math.sqrt(count)


def test_a_stream_starts_where_it_started_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (torch.rand(10, generator=generator(3, "init")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(10, generator=generator(4, "init")))
    assert torch.equal(torch.random.get_rng_state(), before)

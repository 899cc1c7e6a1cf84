"""Which GPU a worker of the pool sees."""

from __future__ import annotations

import pytest

from fanin.sweep.worker import visible_device


@pytest.mark.parametrize(
    ("visible", "seen"),
    [(None, ["0", "1"]), ("", ["0", "1"]), ("4, 6", ["4", "6"]), ("GPU-8932f937,MIG-1", ["GPU-8932f937", "MIG-1"])],
)
def test_devices_are_counted_among_those_that_the_user_left_visible(visible: str | None, seen: list[str]) -> None:
    """A scheduler hands out GPUs by this variable; a worker that took its number for a device would take another's."""
    assert [visible_device(number, visible) for number in range(2)] == seen

"""Answers of a server that something on the way changes: an error with a hint, whatever they become."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.bad_network import bad_network
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run
    from tests.servers import Server

COMMANDS = (
    ("list", "-n", "0", "--value"),
    ("export",),
    ("top", "--by", "day"),
    ("pull", "dag", "task_3", "-r", "run_1"),
    ("push", "dag", "task_1", "return_value", "2", "--run-id", "run_1", "--replace", "--yes"),
)


def flipping(seed: int, share: float) -> Callable[[bytes], bytes]:
    """Return what flips one bit in this share of all bytes."""
    chance = random.Random(seed)

    def damage(data: bytes) -> bytes:
        damaged = bytearray(data)
        for at in range(len(damaged)):
            if chance.random() < share:
                damaged[at] ^= 1 << chance.randrange(8)
        return bytes(damaged)

    return damage


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_damaged_answers_are_no_bug(run: Run, server: Server, command: tuple[str, ...]) -> None:
    """Flipped bits, from the first byte of a connection or from some rows on."""
    metadata = Metadata(server.create_database(), with_instances=True)
    for number in range(40):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add(b'{"a": "%s"}' % (b"x" * number * 20), task_id=f"task_{number}")
    codes = []
    for seed, after in enumerate((200, 2_000, 4_000)):
        damage = flipping(seed, 0.002)
        with bad_network(metadata.url, bytes_from_server=after, damage=damage) as network:
            done = run(*command, "--url", network.url, "--timeout", "1s", "--connect-timeout", "2s")
        codes.append(done.code)
        assert done.code in (0, 3, 4, 5), done.err
        assert "Traceback" not in done.err
        assert done.code != 3 or "hint: " in done.err
    assert set(codes) != {0}

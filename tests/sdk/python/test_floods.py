"""What one participant does too much of, a meeting beside it on the same shard does not feel; all of it is
counted."""

import asyncio
import os
import sys
import urllib.request

import pytest

from machine import BINARY, Machine
from meeting import Stage, new_room, sees_and_hears

pytestmark = pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")

SECONDS = 6
# The flood, how many of it there have to be, what counts it, and how many of them are counted at least.
FLOODS = {
    "plis": (90 * SECONDS, "media_plis_in", 90 * SECONDS),
    "nacks": (500 * SECONDS, "media_nacks_refused", 500 * SECONDS),
    # 1,000 a second are taken, and half as many at once at the beginning. A slow machine hardly sends more.
    "data": (3_000, "media_data_refused", lambda done: (done - 1_000 * SECONDS - 500) // 2),
    "silent": (1_000, "media_tcp_refused", 300),
    "addresses": (30_000, "media_paths_displaced", 5_000),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("floods"))
    asyncio.run(machine.start())
    yield machine
    machine.terminate()


def counted(machine: Machine, name: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{machine.http}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.split("{")[0].split(" ")[0].endswith(name):
                return int(float(line.rsplit(" ", 1)[1]))
    raise AssertionError(f"no indicator {name}")


async def longest_pause(seen, ends: asyncio.Event) -> tuple[float, int]:
    """The longest time in which no new picture was decoded, and how many were."""
    clock = asyncio.get_running_loop().time
    first = count = len(seen.numbers)
    last, longest = clock(), 0.0
    while not ends.is_set():
        await asyncio.sleep(0.01)
        if len(seen.numbers) > count:
            count, last = len(seen.numbers), clock()
        longest = max(longest, clock() - last)
    return longest, count - first


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_does_not_reach_the_meeting_beside_it(machine, run, flood):
    least, indicator, least_counted = FLOODS[flood]
    site = machine.site

    async def story():
        beside, room = new_room(), new_room()
        token = site.token(beside, "hostile")
        what = f"silent:127.0.0.1:{machine.tcp}" if flood == "silent" else flood
        script = os.path.join(os.path.dirname(__file__), "hostile.py")
        async with (
            site.join(beside, "publisher", False) as (publisher, _),
            site.join(room, "actor", False) as (actor, _),
            site.join(room, "viewer", False) as (_, seen),
        ):
            other, stage = await asyncio.gather(Stage(publisher).open(), Stage(actor).open())
            hostile = await asyncio.create_subprocess_exec(
                sys.executable, script, site.url, token, what, str(SECONDS),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
            try:
                assert await hostile.stdout.readline() == b"ready\n"
                await sees_and_hears(seen, stage, 20)
                before, ends, sent = counted(machine, indicator), asyncio.Event(), stage.sent
                watching = asyncio.create_task(longest_pause(seen, ends))
                hostile.stdin.write(b"go\n")
                done = int(await hostile.stdout.readline())
                ends.set()
                pause, pictures = await watching
                print(f"{flood}: {done}, longest pause {pause * 1000:.0f} ms, {pictures} of {stage.sent - sent} pictures")
                assert done >= least, f"the flood was none: {done}"
                assert pause < 0.5, f"nothing new for {pause:.2f} s"
                assert pictures > 0.8 * (stage.sent - sent) and not seen.broken, (pictures, stage.sent - sent)
                await asyncio.sleep(2)
                print(f"{indicator}: {counted(machine, indicator) - before}")
                expected = least_counted(done) if callable(least_counted) else least_counted
                assert counted(machine, indicator) - before >= expected
                await sees_and_hears(seen, stage, 20)
            finally:
                if hostile.returncode is None:
                    hostile.kill()
                await hostile.wait()
            await asyncio.gather(other.close(), stage.close())

    run(story())

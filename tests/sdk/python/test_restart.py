"""The server dies and comes back; so do its clients, by themselves."""

import asyncio

import pytest

from machine import BINARY, Machine
from meeting import Stage, new_room, sees_and_hears, until

pytestmark = pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_pictures_go_on_after_the_server_came_back(tmp_path, run, single, how):
    machine = Machine(tmp_path)

    async def story():
        await machine.start()
        room, site = new_room(), machine.site
        async with site.join(room, "actor", single) as (actor, acted), site.join(room, "viewer", single) as (_, seen):
            stage = await Stage(actor).open()
            await sees_and_hears(seen, stage)
            await asyncio.to_thread(getattr(machine, how))
            await machine.start()
            await until("both coming back", lambda: all("reconnected" in it.events for it in (acted, seen)), 60)
            await sees_and_hears(seen, stage)
            assert "disconnected" not in acted.events + seen.events
            await stage.close()

    try:
        run(story())
    finally:
        machine.kill()

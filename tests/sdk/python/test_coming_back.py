"""Connections that break and come back by themselves."""

import asyncio

import pytest
from livekit import rtc

from meeting import Stage, new_room, sees_and_hears, until

RESUME = rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT
AFRESH = rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT


@pytest.mark.parametrize("who", ["actor", "viewer"])
@pytest.mark.parametrize("how", [RESUME, AFRESH], ids=["resume", "afresh"])
def test_pictures_go_on_after_a_reconnect(site, run, single, who, how):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, acted), site.join(room, "viewer", single) as (viewer, seen):
            stage = await Stage(actor).open()
            await sees_and_hears(seen, stage)
            person, events = (actor, acted.events) if who == "actor" else (viewer, seen.events)
            await person.simulate_scenario(how)
            await until("the reconnect", lambda: "reconnected" in events)
            await asyncio.sleep(1)
            await sees_and_hears(seen, stage)
            assert "disconnected" not in events
            await stage.close()

    run(story())


def test_reliable_data_survives_a_resume_once_each(site, run, single):
    async def story():
        room, got = new_room(), []
        async with site.join(room, "a", single) as (a, _), site.join(room, "b", single) as (b, seen):
            b.on("data_received", lambda packet: got.append(int(packet.data)))
            await until("each other", lambda: "b" in a.remote_participants)

            async def count():
                for n in range(200):
                    await a.local_participant.publish_data(str(n), reliable=True)
                    await asyncio.sleep(0.02)

            counting = asyncio.create_task(count())
            await asyncio.sleep(1)
            await b.simulate_scenario(RESUME)
            await counting
            await until(f"all 200 messages, but {len(got)}", lambda: len(got) >= 200)
            await asyncio.sleep(1)
            assert got == list(range(200))
            assert "reconnected" in seen.events

    run(story())

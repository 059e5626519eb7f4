"""A camera in twenty meetings is pulled once and kept once."""

import asyncio
import contextlib
import os
import pathlib
import re
import time

import aiohttp
import pytest
from livekit import rtc

import flash
from machine import BINARY, Machine
from meeting import until
from rest import Api
from rtsp import FfmpegCamera

ROOMS = 20
TICKS = os.sysconf("SC_CLK_TCK")


def cost(pid: int) -> tuple[float, float]:
    """Seconds of processor so far, and MiB of memory."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    resident = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)
    return (int(fields[11]) + int(fields[12])) / TICKS, int(resident) / 1024


@pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")
def test_a_camera_in_twenty_rooms_is_one_session_and_one_cache(tmp_path, run):
    machine = Machine(tmp_path)

    async def metric(name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{machine.http}/metrics") as answer:
            return sum(float(found) for found in re.findall(rf"(?m)^\w*{name}(?:\{{[^}}]*\}})? (\S+)$", await answer.text()))

    async def measured(label: str) -> None:
        (before, _), began = cost(machine.process.pid), time.time()
        await asyncio.sleep(4)
        after, memory = cost(machine.process.pid)
        share = (after - before) / (time.time() - began) * 100
        print(f"{label}: {share:.1f} % of a core, {memory:.0f} MiB")

    async def story():
        await machine.start()
        camera = await FfmpegCamera().open(flash.LENGTH)
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                added = (await api("POST", "/cameras", name="gate", url=camera.url))["id"]
                rooms: list[rtc.Room] = []

                async def enter(number: int):
                    name = f"room-{number}"
                    await api("POST", "/rooms", name=name, title=name)
                    await api("POST", f"/rooms/{name}/cameras", camera_id=added)
                    person = rtc.Room()
                    options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=10)
                    await person.connect(machine.site.url, machine.site.token(name, "anna"), options)
                    people.push_async_callback(person.disconnect)
                    rooms.append(person)

                def published(person: rtc.Room) -> int:
                    return sum(len(who.track_publications) for who in person.remote_participants.values())

                await enter(0)
                await until("the camera's tracks", lambda: published(rooms[0]) == 2)
                await measured("one room")
                for number in range(1, ROOMS):
                    await enter(number)
                await until("the camera's tracks everywhere", lambda: all(published(it) == 2 for it in rooms))
                await measured(f"{ROOMS} rooms")
                assert camera.sessions == 1 and len(camera.watching) == 1
                assert await metric("media_tracks") == 2, "one of pictures and one of sound"
                # And it can be had in the last of them.
                last = rooms[-1]
                got = asyncio.get_running_loop().create_future()
                last.on("track_subscribed", lambda track, *_: track.kind == rtc.TrackKind.KIND_VIDEO and got.set_result(track))
                for who in last.remote_participants.values():
                    for publication in who.track_publications.values():
                        publication.set_subscribed(True)
                stream = rtc.VideoStream(await asyncio.wait_for(got, 10))
                async for _ in stream:
                    break
                await stream.aclose()
        finally:
            camera.close()
            machine.terminate()

    run(story())


@pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")
def test_a_camera_nobody_watches_rests_and_comes_back_for_who_does(tmp_path, run):
    machine = Machine(tmp_path, media="[rtsp]\nlinger_seconds = 1")

    async def story():
        await machine.start()
        camera = await FfmpegCamera().open(flash.LENGTH)
        try:
            async with Api(machine, tmp_path) as api:
                added = (await api("POST", "/cameras", name="gate", url=camera.url))["id"]
                await api("POST", "/rooms", name="rest", title="rest")
                await api("POST", "/rooms/rest/cameras", camera_id=added)
                person = rtc.Room()
                await person.connect(machine.site.url, machine.site.token("rest", "anna"), rtc.RoomOptions(auto_subscribe=False))

                def tracks() -> dict:
                    return {sid: it for who in person.remote_participants.values() for sid, it in who.track_publications.items()}

                async def reaches(state: str):
                    for _ in range(150):
                        if (await api("GET", f"/cameras/{added}"))["state"] == state:
                            return
                        await asyncio.sleep(0.1)
                    raise AssertionError(f"not {state} in 15 s")

                await until("the camera's tracks", lambda: len(tracks()) == 2)
                known = set(tracks())
                for sessions in (2, 3):
                    await reaches("idle")
                    assert set(tracks()) == known, "it rests, and is there"
                    # The camera hears of the end a moment after the server has decided on it.
                    await until("the end of its session", lambda: not camera.watching)
                    got = asyncio.get_running_loop().create_future()
                    person.once("track_subscribed", lambda track, *_: got.set_result(track))
                    video = next(it for it in tracks().values() if it.kind == rtc.TrackKind.KIND_VIDEO)
                    began = time.time()
                    video.set_subscribed(True)
                    stream = rtc.VideoStream(await asyncio.wait_for(got, 10))
                    async for _ in stream:
                        break
                    print(f"back after {time.time() - began:.2f} s")
                    await stream.aclose()
                    assert camera.sessions == sessions
                    video.set_subscribed(False)
                await person.disconnect()
        finally:
            camera.close()
            machine.terminate()

    run(story())

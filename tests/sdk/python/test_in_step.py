"""Picture and sound, and two publishers, stand together in a recording: a flash and a beep once a second."""

import asyncio
import statistics

import pytest

import flash
from machine import BINARY, Machine
from meeting import new_room, until
from rest import Api
from rtsp import FfmpegCamera

SECONDS = 14


def middle(moments: list[float], of: float) -> float:
    """Where in the second something recurs; `of`: about there."""
    assert len(moments) >= SECONDS - 4, f"only {len(moments)} of {SECONDS}"
    return of + statistics.median(flash.apart(moment, of) for moment in moments)


@pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")
def test_flash_and_beep_and_two_publishers_stand_together_in_a_recording(tmp_path, run):
    machine = Machine(tmp_path)

    async def story():
        await machine.start()
        camera = await FfmpegCamera().open(flash.LENGTH)
        room, site = new_room(), machine.site
        try:
            async with Api(machine, tmp_path) as api:
                await api("POST", "/rooms", name=room, title="in step")
                added = await api("POST", "/cameras", name="ffmpeg", url=camera.url)
                await api("POST", f"/rooms/{room}/cameras", camera_id=added["id"])
                async with site.join(room, "anna", True) as (anna, _), site.join(room, "bert", False) as (bert, _):
                    clappers = [await flash.Clapper(anna, 0.3).open(), await flash.Clapper(bert, 0.7).open()]
                    # Long enough for the first sender reports.
                    await asyncio.sleep(6)
                    recording = await api("POST", f"/rooms/{room}/recordings")
                    await asyncio.sleep(SECONDS)
                    await api("POST", f"/recordings/{recording['id']}/stop")
                    for clapper in clappers:
                        await clapper.close()
                await judge(api, recording["id"], added["id"], camera.began)
        finally:
            camera.close()
            machine.terminate()

    async def judge(api: Api, recording: str, camera_id: str, began: float):
        phases = {"anna": 0.3, "bert": 0.7, f"camera:{camera_id}": began % 1}
        shown, axis = {}, {}
        for track in (await api("GET", f"/recordings/{recording}"))["tracks"]:
            if track["note"] == "has_copy":
                continue
            file = await api.file(f"/recordings/{recording}/tracks/{track['id']}/media.mp4")
            found = flash.flashes(file) if track["kind"] == "video" else flash.beeps(file)
            who = track["participant"]
            at = middle([moment + track["start_ms"] / 1000 for moment in found], found[0] + track["start_ms"] / 1000)
            shown[who, track["kind"]] = at
            axis[who, track["kind"]] = flash.apart(at, phases[who])
        assert len(shown) == 6, shown
        for who in phases:
            off = flash.apart(shown[who, "audio"], shown[who, "video"])
            print(f"{who}: the beep is {off * 1000:.0f} ms behind the flash")
            assert abs(off) <= 0.04, f"{who}: {off * 1000:.0f} ms"
        every = list(axis)
        apart = {(a, b): flash.apart(axis[a], axis[b]) for a in every for b in every}
        worst = max(apart, key=lambda pair: abs(apart[pair]))
        print(f"on the room's axis: {apart[worst] * 1000:.0f} ms between {worst}")
        assert abs(apart[worst]) <= 0.08, f"{worst}: {apart[worst] * 1000:.0f} ms, {axis}"

    run(story())

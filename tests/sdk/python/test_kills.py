"""The server is killed with -9 at random instants while eight tracks are recorded: at most one fragment of each is
lost, and everything that was written is listed.

`RONGTONG_KILLS` is how often; a run of the suite does a few. Every fourth kill comes right after the first file is
there, before the database can have heard of it.
"""

import asyncio
import contextlib
import datetime
import os
import random
import re
import subprocess
import time

import pytest

from machine import BINARY, Machine
from meeting import until
from rest import Api

KILLS = int(os.environ.get("RONGTONG_KILLS", "4"))
CAMERAS = 4
#: A fragment is about a second; what is on its way to it comes on top.
FRAGMENT = 1.4


@contextlib.contextmanager
def simulated():
    command = [BINARY, "simulate", "rtsp", "--listen", "127.0.0.1:0", "--cameras", str(CAMERAS), "--fps", "15"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            found = re.search(r"rtsp://\S+", line)
            if found:
                yield found.group(0)
                return
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")
def test_a_kill_costs_each_track_one_fragment_and_nothing_that_was_written(tmp_path):
    machine, lost, before_rows = Machine(tmp_path), [], 0
    choice = random.Random(os.environ.get("RONGTONG_SEED", "1"))

    async def killed(api: Api, cameras: list[str], number: int):
        nonlocal before_rows
        room = f"kill-{number}"
        await api("POST", "/rooms", name=room, title=room)
        for camera in cameras:
            await api("POST", f"/rooms/{room}/cameras", camera_id=camera)
        async with machine.site.join(room, "keeper", True) as (keeper, seen):
            tracks = lambda: sum(len(who.track_publications) for who in keeper.remote_participants.values())
            await until("all tracks", lambda: tracks() == 2 * CAMERAS)
            recording = await api("POST", f"/rooms/{room}/recordings")
            folder = tmp_path / "data" / "recordings" / recording["id"]
            early = number % 4 == 3
            if early:
                await until("the first file", lambda: any(folder.glob("t*.mp4")))
            else:
                await asyncio.sleep(choice.uniform(0, 6))
            machine.kill()
            at = time.time()
        files = {file.stem for file in folder.glob("t*.mp4")}
        before_rows += early and bool(files)
        await machine.start()
        await api.sign_in()
        found = await api("GET", f"/recordings/{recording['id']}")
        assert found["state"] == "recovered", found["state"]
        began = datetime.datetime.fromisoformat(found["started_at"]).timestamp()
        # One that was opened and never written to holds nothing that could be listed.
        listed = {track["id"] for track in found["tracks"]}
        written = {name for name in files if b"moof" in (folder / f"{name}.mp4").read_bytes()}
        assert written <= listed, f"kill {number}: written {written}, listed {listed}"
        lived = at - began
        if lived > 3:
            assert len(listed) >= 2 * CAMERAS, f"kill {number} after {lived:.1f} s: {listed}"
        for track in found["tracks"]:
            missing = lived - (track["start_ms"] + track["duration_ms"]) / 1000
            lost.append(missing)
            assert missing <= FRAGMENT, f"kill {number}, {track['codec']} {track['id']}: {missing:.2f} s"
        for track in [track for track in found["tracks"] if track["duration_ms"]][:2]:
            file = await api.file(f"/recordings/{recording['id']}/tracks/{track['id']}/media.mp4")
            decoded = subprocess.run(["ffmpeg", "-v", "error", "-i", file, "-f", "null", "-"], capture_output=True)
            assert not decoded.stderr, decoded.stderr

    async def story():
        with simulated() as url:
            await machine.start()
            async with Api(machine, tmp_path) as api:
                cameras = []
                for number in range(1, CAMERAS + 1):
                    address = re.sub(r"cam1$", f"cam{number}", url)
                    cameras.append((await api("POST", "/cameras", name=f"c{number}", url=address))["id"])
                for number in range(KILLS):
                    await killed(api, cameras, number)
            machine.terminate()

    asyncio.run(asyncio.wait_for(story(), 60 + 25 * KILLS))
    print(f"{KILLS} kills, {before_rows} before a row; lost at most {max(lost):.2f} s, in the middle {sorted(lost)[len(lost) // 2]:.2f} s")

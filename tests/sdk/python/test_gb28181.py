"""A GB/T 28181 device of another's making registers at the server, is steered, and is seen in a meeting."""

import asyncio
import contextlib
import os
import pathlib
import time

import pytest
from livekit import rtc

from machine import BINARY, Machine, free_port
from meeting import until
from rest import Api

DEVICE = "34020000001320000001"
PASSWORD = "gate-secret-1"
PLAYER = pathlib.Path(BINARY or "/").parent / "examples" / "gb28181_device"


class Device:
    """The program `gb28181_device`, with what it says."""

    async def start(self, folder: pathlib.Path, sip: int):
        stream = folder / "pictures.ts"
        source = "testsrc2=s=640x360:r=25:d=4"
        encode = "-c:v libx264 -preset ultrafast -g 50 -bf 0 -pix_fmt yuv420p -f mpegts".split()
        made = await asyncio.create_subprocess_exec("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *encode, stream)
        assert await made.wait() == 0
        config = folder / "device.toml"
        config.write_text(
            f"""
platform_sip_address = "127.0.0.1"
platform_sip_port = {sip}
device_id = "{DEVICE}"
channel_id = "{DEVICE}"
sip_domain = "3402000000"
password = "{PASSWORD}"
local_sip_port = {free_port()}
heartbeat_interval_secs = 2
device_name = "东门半球"
manufacturer = "Testwerk"
protocol_version = "3.0"
"""
        )
        self.said = folder / "device.log"
        with open(self.said, "wb") as log:
            self.process = await asyncio.create_subprocess_exec(PLAYER, config, stream, stdout=log, stderr=log)
        return self

    async def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@pytest.mark.skipif(not BINARY or not os.access(PLAYER, os.X_OK), reason="the server and gb28181_device are not built")
def test_a_device_is_listed_steered_and_seen(tmp_path, run):
    sip = free_port()
    machine = Machine(
        tmp_path,
        after=f'[gb28181]\nenabled = true\nlisten = "127.0.0.1:{sip}"\npassword = "{PASSWORD}"\nkeepalive_seconds = 5\n',
    )

    async def story():
        await machine.start()
        device = await Device().start(tmp_path, sip)
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                known = []

                async def listed():
                    known[:] = await api("GET", "/gb28181/devices")
                    return any(found["online"] and found["complete"] and found["name"] for found in known)

                end = time.time() + 15
                while not await listed():
                    assert time.time() < end, f"not registered: {known}"
                    await asyncio.sleep(0.1)
                assert [(found["code"], found["name"], found["edition"]) for found in known] == [(DEVICE, "东门半球", "2022")]
                detail = await api("GET", f"/gb28181/devices/{DEVICE}")
                channel = next(found for found in detail["channels"] if found["url"])
                path = f"/gb28181/devices/{DEVICE}/channels/{channel['code']}/ptz"
                await api("POST", path, action="move", pan=-80, tilt=40)
                await api("POST", path, action="stop")
                await api("POST", path, action="preset_call", preset=3)
                await until("the device's orders", lambda: device.said.read_text().count("ptz ") == 3)
                orders = [line for line in device.said.read_text().splitlines() if line.startswith("ptz ")]
                assert "pan_speed: 80, tilt_speed: 40" in orders[0] and "bits: 0" in orders[1], orders
                # It takes the number from another byte than annex A.3.4 has it in.
                assert "Preset { action: Call" in orders[2], orders

                added = (await api("POST", "/cameras", name="gate", url=channel["url"]))["id"]
                await api("POST", "/rooms", name="room", title="room")
                await api("POST", "/rooms/room/cameras", camera_id=added)
                person, got = rtc.Room(), asyncio.get_running_loop().create_future()
                person.on("track_subscribed", lambda track, *_: got.done() or got.set_result(track))
                await person.connect(machine.site.url, machine.site.token("room", "anna"), rtc.RoomOptions(connect_timeout=10))
                people.push_async_callback(person.disconnect)
                stream = rtc.VideoStream(await asyncio.wait_for(got, 20))
                shown, began = 0, time.time()
                async for event in stream:
                    if (event.frame.width, event.frame.height) == (640, 360):
                        shown += 1
                    if shown >= 50:
                        break
                print(f"50 pictures in {time.time() - began:.1f} s")
                assert time.time() - began < 15
                await stream.aclose()

                camera = await api("GET", f"/cameras/{added}")
                assert camera["state"] == "live" and camera["video"]["codec"] == "h264", camera
                # And recorded, for as long as it took.
                recording = await api("POST", f"/cameras/{added}/recordings")
                await asyncio.sleep(4)
                await api("POST", f"/recordings/{recording['id']}/stop")
                tracks = (await api("GET", f"/recordings/{recording['id']}"))["tracks"]
                assert len(tracks) == 1, tracks
                file = await api.file(f"/recordings/{recording['id']}/tracks/{tracks[0]['id']}/media.mp4")
                probe = "ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames -of csv=p=0".split()
                asked = await asyncio.create_subprocess_exec(*probe, file, stdout=asyncio.subprocess.PIPE)
                recorded = int((await asked.communicate())[0].strip().rstrip(b","))
                print(f"{recorded} pictures recorded")
                assert 75 <= recorded <= 160, "four seconds of 25, from a keyframe on"

                # Without the device the camera says why it can't be had.
                await device.end()
                end = time.time() + 40
                while (camera := await api("GET", f"/cameras/{added}"))["state"] != "failed":
                    assert time.time() < end, camera
                    await asyncio.sleep(0.2)
                assert camera["state_reason"] in ("silent", "offline", "timeout", "closed"), camera
        finally:
            await device.end()
            machine.terminate()

    run(story())

"""ffmpeg pushes by RTMP, and is seen in a meeting as a camera."""

import asyncio
import contextlib
import time

import pytest
from livekit import rtc

from machine import BINARY, Machine, free_port
from rest import Api

IS_BUILT = pytest.mark.skipif(not BINARY, reason="the server is not built")
SOURCE = "-v error -re -f lavfi -i testsrc2=s=640x360:r=25 -f lavfi -i sine=f=440:r=44100"
ENCODE = "-c:v libx264 -preset ultrafast -bf 0 -g 50 -pix_fmt yuv420p -c:a aac -t 60 -f flv"


@IS_BUILT
def test_what_is_pushed_is_seen(tmp_path, run):
    port = free_port()
    machine = Machine(tmp_path, after=f'[rtmp]\nenabled = true\nlisten = "127.0.0.1:{port}"\n')

    async def push(address: str):
        command = ["ffmpeg", *SOURCE.split(), *ENCODE.split(), address]
        return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)

    async def story():
        await machine.start()
        encoders = []
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                made = await api("POST", "/pushes", name="东门无人机")
                assert made["live"] is None and made["url"] == f"push://{made['id']}"
                address = made["addresses"]["rtmp"]
                assert address.startswith(f"rtmp://127.0.0.1:{port}/live/{made['id']}?key="), address

                wrong = await push(address[:-1])
                said = (await asyncio.wait_for(wrong.communicate(), 10))[1].decode()
                assert wrong.returncode != 0 and "Unauthorized" in said, said

                camera = (await api("POST", "/cameras", name="drone", url=made["url"]))["id"]
                await api("POST", "/rooms", name="room", title="room")
                await api("POST", "/rooms/room/cameras", camera_id=camera)
                encoders.append(await push(address))
                person, got = rtc.Room(), asyncio.get_running_loop().create_future()

                def subscribed(track, *_):
                    if track.kind == rtc.TrackKind.KIND_VIDEO and not got.done():
                        got.set_result(track)

                person.on("track_subscribed", subscribed)
                await person.connect(machine.site.url, machine.site.token("room", "anna"), rtc.RoomOptions(connect_timeout=10))
                people.push_async_callback(person.disconnect)
                stream = rtc.VideoStream(await asyncio.wait_for(got, 30))
                shown, began = 0, time.time()
                async for event in stream:
                    if (event.frame.width, event.frame.height) == (640, 360):
                        shown += 1
                    if shown >= 50:
                        break
                print(f"50 pictures in {time.time() - began:.1f} s")
                assert time.time() - began < 15
                await stream.aclose()

                live = (await api("GET", f"/pushes/{made['id']}"))["live"]
                assert (live["protocol"], live["video"], live["audio"], live["width"]) == ("RTMP", "h264", "aac", 640), live
                assert live["kbit_per_second"] > 10, live

                # Another key throws the encoder out, and its old address is worth nothing.
                other = await api("POST", f"/pushes/{made['id']}/key")
                assert other["addresses"]["rtmp"] != address
                await asyncio.wait_for(encoders[0].wait(), 10)
                audit = str(await api("GET", "/audit"))
                assert "push.key" in audit and address.split("key=")[1] not in audit
                await api("DELETE", f"/pushes/{made['id']}")
                assert await api("GET", "/pushes") == []
        finally:
            for encoder in encoders:
                with contextlib.suppress(ProcessLookupError):
                    encoder.kill()
                await encoder.wait()
            machine.terminate()

    run(story())

"""A GB/T 28181 device of another's making registers at the server, is steered, and is seen in a meeting."""

import array
import asyncio
import contextlib
import datetime
import json
import math
import os
import pathlib
import time

import pytest
from livekit import rtc

from machine import BINARY, Machine, free_port
from meeting import until
from rest import Api

DEVICE = "34020000001320000001"
MOBILE = "34020000001380000009"
PASSWORD = "gate-secret-1"
PLAYER = pathlib.Path(BINARY or "/").parent / "examples" / "gb28181_device"


class Device:
    """The program `gb28181_device`, with what it says."""

    async def start(self, folder: pathlib.Path, sip: int, recordings: pathlib.Path | None = None, heard: pathlib.Path | None = None, moves: str | None = None):
        stream = folder / "pictures.ts"
        source = "testsrc2=s=640x360:r=25:d=4"
        encode = "-c:v libx264 -preset ultrafast -g 50 -bf 0 -pix_fmt yuv420p -f mpegts".split()
        made = await asyncio.create_subprocess_exec("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *encode, stream)
        assert await made.wait() == 0
        config = folder / "device.toml"
        code = MOBILE if moves else DEVICE
        config.write_text(
            f"""
platform_sip_address = "127.0.0.1"
platform_sip_port = {sip}
device_id = "{code}"
channel_id = "{code}"
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
            shelf = [recordings] if recordings else []
            # Its clock shows the time of the platform's devices.
            clock = {**os.environ, "TZ": "CST-8", **({"HEARD": str(heard)} if heard else {}), **({"MOVES": moves} if moves else {})}
            self.process = await asyncio.create_subprocess_exec(PLAYER, config, stream, *shelf, stdout=log, stderr=log, env=clock)
        return self

    async def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


IS_BUILT = pytest.mark.skipif(not BINARY or not os.access(PLAYER, os.X_OK), reason="the server and gb28181_device are not built")


def gate(sip: int) -> str:
    return f'[gb28181]\nenabled = true\nlisten = "127.0.0.1:{sip}"\npassword = "{PASSWORD}"\nkeepalive_seconds = 5\n'


async def registered(api: Api) -> list:
    end = time.time() + 15
    while True:
        known = await api("GET", "/gb28181/devices")
        if any(found["online"] and found["complete"] and found["name"] for found in known):
            return known
        assert time.time() < end, f"not registered: {known}"
        await asyncio.sleep(0.1)


@IS_BUILT
def test_a_device_is_listed_steered_and_seen(tmp_path, run):
    sip = free_port()
    machine = Machine(tmp_path, after=gate(sip))

    async def story():
        await machine.start()
        device = await Device().start(tmp_path, sip)
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                known = await registered(api)
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


RECORDED = 1_790_000_000
PERIOD = {"from": "2026-09-21T14:13:00Z", "to": "2026-09-21T14:16:00Z"}


def at(second: float) -> str:
    moment = datetime.datetime.fromtimestamp(RECORDED + second, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def second_of(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp() - RECORDED


@IS_BUILT
def test_what_a_device_has_recorded_is_seen_and_steered(tmp_path, run):
    """Recorded are 12 seconds, and 4 more a minute later; seen they are in a browser's way, by the LiveKit SDK."""
    sip = free_port()
    machine = Machine(tmp_path, after=gate(sip))
    shelf = tmp_path / "shelf"
    shelf.mkdir()

    async def story():
        source = "testsrc2=s=640x360:r=25:d=4"
        encode = "-c:v libx264 -preset ultrafast -g 25 -bf 0 -pix_fmt yuv420p -f h264".split()
        for begin in (0, 4, 8, 60):
            file = shelf / f"{(RECORDED + begin) * 1000}-{(RECORDED + begin + 4) * 1000}.h264"
            made = await asyncio.create_subprocess_exec("ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *encode, file)
            assert await made.wait() == 0
        await machine.start()
        device = await Device().start(tmp_path, sip, shelf)
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                await registered(api)
                channel = f"/gb28181/devices/{DEVICE}/channels/{DEVICE}"
                listed = await api("GET", f"{channel}/recordings?from={PERIOD['from']}&to={PERIOD['to']}")
                assert listed["complete"] and [second_of(found["from"]) for found in listed["items"]] == [0, 4, 8, 60]

                playback = await api("POST", f"{channel}/playbacks", **PERIOD)
                path = f"/gb28181/playbacks/{playback['id']}"
                spans = [(second_of(span["from"]), second_of(span["to"])) for span in playback["spans"]]
                assert spans == [(0, 12), (60, 64)], spans
                seat = await api("POST", f"/cameras/{playback['id']}/preview")
                person, got = rtc.Room(), asyncio.get_running_loop().create_future()
                person.on("track_subscribed", lambda track, *_: got.done() or got.set_result(track))
                await person.connect(machine.site.url, seat["token"], rtc.RoomOptions(connect_timeout=10))
                people.push_async_callback(person.disconnect)
                stream = rtc.VideoStream(await asyncio.wait_for(got, 20))
                shown = []

                async def watch():
                    async for _ in stream:
                        shown.append(time.time())

                watching = asyncio.create_task(watch())

                async def state(what: str, so, seconds: float = 15):
                    end = time.time() + seconds
                    while not so(now := await api("GET", path)):
                        assert time.time() < end, f"not within {seconds} s: {what}: {now}"
                        await asyncio.sleep(0.1)
                    return now

                begun = time.time()
                await state("three seconds", lambda now: second_of(now["position"]) >= 3)
                await asyncio.sleep(0.3)
                print(f"{len(shown)} pictures and {second_of((await api('GET', path))['position']):.1f} s in {time.time() - begun:.1f} s")
                assert len(shown) >= 50

                # This device takes the order and plays on, so that it is hung up.
                await api("PATCH", path, paused=True)
                await state("a pause", lambda now: now["state"] == "paused")
                await asyncio.sleep(3)
                paused, before = await api("GET", path), len(shown)
                await asyncio.sleep(1)
                assert len(shown) == before and (await api("GET", path))["position"] == paused["position"]
                await api("PATCH", path, paused=False)
                await until("pictures again", lambda: len(shown) > before + 20)
                assert abs(second_of((await state("goes on", lambda now: now["state"] == "playing"))["position"]) - second_of(paused["position"])) < 4

                await api("PATCH", path, position=at(61))
                await state("the last seconds", lambda now: second_of(now["position"]) >= 62)
                before = len(shown)
                await until("pictures from there", lambda: len(shown) > before + 10)
                ended = await state("the end", lambda now: now["state"] == "ended")
                assert second_of(ended["position"]) == 64 and ended["reason"] is None
                watching.cancel()
                await stream.aclose()

                for path, body, status in (
                    (f"{channel}/playbacks", {"from": at(20), "to": at(40)}, 404),
                    (f"{channel}/playbacks", {"from": at(40), "to": at(20)}, 422),
                    (f"{channel}/playbacks", {"from": at(0), "to": at(8 * 86_400)}, 422),
                    (f"/gb28181/devices/{DEVICE}/channels/nobody/playbacks", PERIOD, 404),
                ):
                    with pytest.raises(AssertionError, match=f": {status} "):
                        await api("POST", path, **body)
                for body in ({"speed": 3.0}, {"position": at(-600)}, {"position": "yesterday"}):
                    with pytest.raises(AssertionError, match=": 422 "):
                        await api("PATCH", f"/gb28181/playbacks/{playback['id']}", **body)
                # It is no camera that somebody could keep.
                with pytest.raises(AssertionError, match=": 422 "):
                    await api("POST", "/cameras", name="x", url=f"gb28181-record://{playback['id']}")
                await api("DELETE", f"/gb28181/playbacks/{playback['id']}")
                for method, path in (("GET", f"/gb28181/playbacks/{playback['id']}"), ("POST", f"/cameras/{playback['id']}/preview")):
                    with pytest.raises(AssertionError, match=": 404 "):
                        await api(method, path)
        finally:
            await device.end()
            machine.terminate()

    run(story())


RATE, TONE = 48_000, 1_000


async def speak(url: str, token: str, gone: asyncio.Event):
    """Publishes a microphone that is a tone, until there is enough."""
    room = rtc.Room()
    await room.connect(url, token, rtc.RoomOptions(connect_timeout=10))
    source = rtc.AudioSource(RATE, 1)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("mic", source), options)
    at = 0
    try:
        while not gone.is_set():
            wave = (int(9_000 * math.sin(2 * math.pi * TONE * (at + i) / RATE)) for i in range(RATE // 50))
            samples = array.array("h", wave)
            await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, RATE // 50))
            at += RATE // 50
    finally:
        await room.disconnect()


def share(samples: list[int]) -> float:
    """How much of A-law's samples is the tone: 1 is all."""
    power = sum(s * s for s in samples)
    angle = [2 * math.pi * TONE * i / 8_000 for i in range(len(samples))]
    re, im = (sum(s * f(a) for s, a in zip(samples, angle)) for f in (math.cos, math.sin))
    return 2 * (re * re + im * im) / (power * len(samples)) if power else 0.0


def decode(law: bytes) -> list[int]:
    def one(code: int) -> int:
        code ^= 0x55
        exponent, mantissa = code >> 4 & 7, code & 15
        magnitude = (mantissa << 4) + 8 if not exponent else (mantissa << 4) + 0x108 << exponent - 1
        return magnitude if code & 0x80 else -magnitude

    return [one(code) for code in law]


@IS_BUILT
def test_a_person_and_a_meeting_are_heard_at_the_device(tmp_path, run):
    sip = free_port()
    heard = tmp_path / "heard.alaw"
    machine = Machine(tmp_path, after=gate(sip))

    async def until_live(api, talk):
        end = time.time() + 15
        while (target := (await api("GET", f"/talks/{talk['id']}"))["targets"][0])["state"] != "live":
            assert target["state"] == "calling" and time.time() < end, target
            await asyncio.sleep(0.1)
        return target["way"]

    async def story():
        await machine.start()
        device = await Device().start(tmp_path, sip, heard=heard)
        try:
            async with Api(machine, tmp_path) as api, contextlib.AsyncExitStack() as people:
                await registered(api)
                detail = await api("GET", f"/gb28181/devices/{DEVICE}")
                url = next(found["url"] for found in detail["channels"] if found["url"])
                camera = (await api("POST", "/cameras", name="东门", url=url))["id"]
                await api("POST", "/rooms", name="order", title="指挥")
                for way, meeting in [("broadcast", None), ("talk", "order")]:
                    gone = asyncio.Event()
                    if meeting:
                        speaking = asyncio.create_task(speak(machine.site.url, machine.site.token(meeting, "anna"), gone))
                        await asyncio.sleep(1)
                        talk = await api("POST", "/talks", cameras=[camera], room=meeting, way=way)
                        assert talk["token"] is None and talk["room"] == meeting
                    else:
                        talk = await api("POST", "/talks", cameras=[camera], way=way)
                        speaking = asyncio.create_task(speak(talk["url"], talk["token"], gone))
                    assert await until_live(api, talk) == way
                    busy = await api("POST", "/talks", cameras=[camera], status=409)
                    assert busy["code"] == "talk_busy" and "东门" in busy["detail"], busy
                    began = heard.stat().st_size
                    await until("the tone at the device", lambda: heard.stat().st_size > began + 8_000 * 4)
                    samples = decode(heard.read_bytes()[-8_000:])
                    assert share(samples) > 0.9, share(samples)
                    await api("DELETE", f"/talks/{talk['id']}", status=204)
                    gone.set()
                    await speaking
                    after = await api("GET", f"/talks/{talk['id']}")
                    assert (after["over"], after["targets"][0]["state"]) == (True, "ended"), after
                audit = [entry["action"] for entry in (await api("GET", "/audit"))["items"]]
                assert audit.count("talk.begin") == 2 and audit.count("talk.end") == 2, audit
        finally:
            await device.end()
            machine.terminate()

    run(story())


@IS_BUILT
def test_a_device_has_a_password_and_a_name_of_its_own_and_is_remembered(tmp_path, run):
    sip = free_port()
    machine = Machine(tmp_path, after=gate(sip))

    async def is_online(api: Api) -> bool:
        return any(found["online"] for found in await api("GET", "/gb28181/devices"))

    async def until_online(api: Api, online: bool):
        end = time.time() + 20
        while await is_online(api) != online:
            assert time.time() < end, await api("GET", "/gb28181/devices")
            await asyncio.sleep(0.1)

    async def story():
        await machine.start()
        device = None
        try:
            async with Api(machine, tmp_path) as api:
                path = f"/gb28181/devices/{DEVICE}"
                refused = await api("POST", "/gb28181/devices", status=422, code="not a code")
                assert refused["code"] == "invalid", refused
                await api("POST", "/gb28181/devices", status=422, code=DEVICE, password="short")
                announced = await api("POST", "/gb28181/devices", code=DEVICE, name="西门", password="another-secret")
                assert (announced["online"], announced["own_password"], announced["seen_at"]) == (False, True, None)
                await api("POST", "/gb28181/devices", status=409, code=DEVICE)
                assert [found["name"] for found in await api("GET", "/gb28181/devices")] == ["西门"]

                # It does not have the password that was announced.
                device = await Device().start(tmp_path, sip)
                await asyncio.sleep(2)
                assert not await is_online(api)
                await device.end()
                assert not (await api("PATCH", path, password=PASSWORD))["online"]
                device = await Device().start(tmp_path, sip)
                await until_online(api, True)
                known = (await registered(api))[0]
                assert (known["name"], known["manufacturer"]) == ("西门", "Testwerk"), known

                assert (await api("PATCH", path, blocked=True))["blocked"]
                await until_online(api, False)
                await device.end()
                device = await Device().start(tmp_path, sip)
                await asyncio.sleep(2)
                assert not await is_online(api)
                await device.end()
                # It is written down some seconds after it was said.
                await asyncio.sleep(2.5)
            machine.terminate()
            await machine.start()
            async with Api(machine, tmp_path, again=True) as api:
                detail = await api("GET", path)
                there = detail["device"]
                assert (there["name"], there["model"] is not None, there["online"], there["blocked"]) == ("西门", True, False, True)
                assert any(channel["url"] for channel in detail["channels"]), "its channels are remembered"
                assert there["seen_at"], there
                await api("PATCH", path, blocked=False, name="", password=None)
                device = await Device().start(tmp_path, sip)
                await until_online(api, True)
                known = (await registered(api))[0]
                assert (known["name"], known["own_password"]) == ("东门半球", False), known
                await device.end()
                await api("DELETE", path)
                assert await api("GET", "/gb28181/devices") == []
                await api("GET", path, status=404)
        finally:
            if device:
                await device.end()
            machine.terminate()

    run(story())


async def listen(api: Api, count: int) -> list:
    """The first events of the server-sent stream, with their data."""
    events, name = [], ""
    async with api.stream("/events") as answer:
        assert answer.status == 200 and answer.content_type == "text/event-stream", answer
        async for line in answer.content:
            field, _, value = line.decode().strip().partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                events.append((name, json.loads(value)))
                if len(events) == count:
                    return events
    return events


@IS_BUILT
def test_a_body_camera_tells_where_it_is_and_raises_alarms(tmp_path, run):
    sip = free_port()
    machine = Machine(tmp_path, after=gate(sip) + "position_seconds = 1\n")

    async def story():
        await machine.start()
        device = await Device().start(tmp_path, sip, moves="117.2,39.12")
        try:
            async with Api(machine, tmp_path) as api:
                known = await registered(api)
                assert known[0]["code"] == MOBILE
                url = next(found["url"] for found in (await api("GET", f"/gb28181/devices/{MOBILE}"))["channels"] if found["url"])
                camera = (await api("POST", "/cameras", name="单兵一号", url=url, kind="handheld"))["id"]
                began = time.time()
                events = await asyncio.wait_for(listen(api, 8), 30)
                print(f"8 events in {time.time() - began:.1f} s: {[name for name, _ in events]}")
                moved = [data for name, data in events if name == "position"]
                assert len(moved) >= 2 and moved[-1]["longitude"] > moved[0]["longitude"] >= 117.2, moved
                assert moved[0]["camera_id"] == camera and moved[0]["kind"] == "handheld" and moved[0]["speed"] == 3.6
                raised = [data for name, data in events if name.startswith("alarm")]
                assert raised and raised[0]["camera_id"] == camera and raised[0]["description"] == "有人经过", events
                assert (raised[0]["level"], raised[0]["cause"], raised[0]["kind"]) == (2, "video", "motion"), raised[0]

                # Equal ones are one, and are counted.
                await asyncio.sleep(5)
                alarms = (await api("GET", "/alarms?state=open"))["items"]
                assert len(alarms) == 1 and alarms[0]["count"] >= 3, alarms
                off = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(alarms[0]["at"])
                assert off.total_seconds() < 60, alarms
                assert await api("POST", "/alarms/handle", ids=[alarms[0]["id"]], note="已核实") == {"handled": 1}
                places = (await api("GET", "/positions"))["items"]
                assert [(place["device"], place["name"], place["online"]) for place in places] == [(MOBILE, "单兵一号", True)]
                way = await api("GET", f"/positions/track?source=gb28181&device={MOBILE}")
                east = [point["longitude"] for point in way["items"]]
                assert len(east) >= 4 and east == sorted(east), way

                # All of it is there after a restart.
                await device.end()
                machine.terminate()
                await machine.start()
                async with Api(machine, tmp_path, again=True) as again:
                    assert [place["device"] for place in (await again("GET", "/positions"))["items"]] == [MOBILE]
                    handled = (await again("GET", "/alarms?state=handled"))["items"]
                    assert [(alarm["note"], alarm["handled_by"] != "") for alarm in handled] == [("已核实", True)]
                    later = await again("GET", f"/positions/track?source=gb28181&device={MOBILE}")
                    assert len(later["items"]) >= len(east)
        finally:
            await device.end()
            machine.terminate()

    run(story())


@IS_BUILT
def test_a_device_is_told_what_to_do_and_one_person_steers_at_a_time(tmp_path, run):
    sip = free_port()
    machine = Machine(tmp_path, after=gate(sip))

    async def story():
        await machine.start()
        device = await Device().start(tmp_path, sip)
        try:
            async with Api(machine, tmp_path) as api:
                await registered(api)
                base = f"/gb28181/devices/{DEVICE}/channels/{DEVICE}"
                said = lambda: device.said.read_text()
                for order in ["guard", "unguard", "alarm_reset", "record", "record_stop", "reboot", "keyframe"]:
                    # It does what it is told, and does not say what came of it.
                    await api("POST", f"{base}/controls", status=204 if order in ("reboot", "keyframe") else 202, action=order)
                await api("POST", f"{base}/controls", action="home", enabled=True, preset=3, seconds=90)
                box = dict(width=640, height=360, x=320, y=180, box_width=64, box_height=36)
                await api("POST", f"{base}/controls", action="zoom_in", **box)
                await until("the device's orders", lambda: "zoom" in said())
                for told in ["guard true", "guard false", "alarm reset", "record true", "record false", "reboot", "keyframe", "home 1 Some(90) Some(3)"]:
                    assert told in said().splitlines(), (told, said())
                zoom = next(line for line in said().splitlines() if line.startswith("zoom"))
                assert all(f": {number}" in zoom for number in (640, 360, 320, 180, 64, 36)), zoom
                for wrong in [dict(action="home", enabled=True), dict(action="zoom_in", **{**box, "x": 641})]:
                    await api("POST", f"{base}/controls", status=422, **wrong)

                status = await api("GET", f"{base}/status")
                # It writes its clock as UTC: eight hours behind what devices are told.
                assert status["online"] and abs(status["clock_off_seconds"] + 8 * 3600) < 60, status
                assert await api("GET", f"{base}/presets") == {"items": []}
                told = await api("GET", f"/gb28181/devices/{DEVICE}/config")
                assert told["name"] == "东门半球" and told["keepalive_seconds"] == 2, told
                assert told["sections"]["BasicParam"]["Name"] == "东门半球", told
                await api("PATCH", f"/gb28181/devices/{DEVICE}/config", name="西门", keepalive_seconds=30)
                await until("the new parameters", lambda: 'basic Some("西门") None Some(30) None' in said())

                # One steers at a time, and who ranks higher may take over.
                await api("POST", "/people", account="berta", name="Berta", role="dispatcher", password="Dispatch-2026!")
                lease = await api("GET", f"{base}/ptz/lease")
                assert lease["by_me"] and not lease["pinned"], "the orders above were of the head"
                admin = api.token
                once = (await api("POST", "/session", account="berta", password="Dispatch-2026!"))
                api.token = once["token"]
                if once.get("person", {}).get("must_change_password"):
                    await api("POST", "/session/password", old_password="Dispatch-2026!", new_password="Dispatch-2027!")
                    api.token = (await api("POST", "/session", account="berta", password="Dispatch-2027!"))["token"]
                berta = api.token
                refused = await api("POST", f"{base}/ptz", status=409, action="move", pan=50)
                assert refused["code"] == "ptz_held" and refused["held_by"] and refused["may_take"] is False, refused
                await api("PUT", f"{base}/ptz/lease", status=409, minutes=5)
                api.token = admin
                await api("DELETE", f"{base}/ptz/lease")
                api.token = berta
                mine = await api("PUT", f"{base}/ptz/lease", minutes=5)
                assert mine["by_me"] and mine["pinned"] and mine["held_by"] == "Berta", mine
                await api("POST", f"{base}/ptz", action="stop")
                api.token = admin
                refused = await api("POST", f"{base}/ptz", status=409, action="stop")
                assert refused["held_by"] == "Berta" and refused["may_take"] is True, refused
                assert (await api("PUT", f"{base}/ptz/lease", minutes=1))["by_me"]
                await api("POST", f"{base}/ptz", action="stop")
                taken = [entry for entry in (await api("GET", "/audit?limit=100"))["items"] if entry["action"] == "gb28181.ptz_take"]
                assert taken[0]["detail"]["taken_from"] == "Berta", taken
        finally:
            await device.end()
            machine.terminate()

    run(story())

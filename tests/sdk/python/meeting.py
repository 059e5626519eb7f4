"""People in a room: publishing, watching, listening."""

import asyncio
import contextlib
import datetime
import os
import uuid

import numpy as np
from livekit import api, rtc

import picture
import tone

PATIENCE = 20


class Site:
    """Where the server is and how to make tokens for it."""

    def __init__(self, url: str, key: str, secret: str):
        self.url, self.key, self.secret = url, key, secret

    @classmethod
    def from_environment(cls) -> "Site":
        names = ("RONGTONG_URL", "RONGTONG_API_KEY", "RONGTONG_API_SECRET")
        missing = [name for name in names if not os.environ.get(name)]
        assert not missing, f"set {', '.join(missing)} to test a running server"
        return cls(*(os.environ[name] for name in names))

    def token(self, room: str, identity: str, seconds: int = 600, **grants) -> str:
        video = api.VideoGrants(room_join=True, room=room, **{"can_update_own_metadata": True, **grants})
        token = api.AccessToken(self.key, self.secret).with_identity(identity).with_name(identity.title())
        return token.with_grants(video).with_ttl(datetime.timedelta(seconds=seconds)).to_jwt()

    @contextlib.asynccontextmanager
    async def join(self, room: str, identity: str, single: bool, **grants):
        person = rtc.Room()
        options = rtc.RoomOptions(single_peer_connection=single, connect_timeout=10)
        seen = Seen(person)
        await person.connect(self.url, self.token(room, identity, **grants), options)
        try:
            yield person, seen
        finally:
            await seen.close()
            await person.disconnect()


def new_room() -> str:
    return f"sdk-{uuid.uuid4().hex[:8]}"


class Seen:
    """What a participant has decoded so far, kept by itself from the moment of joining."""

    def __init__(self, room: rtc.Room):
        self.numbers: list[int] = []
        self.broken = 0
        self.sound: list[np.ndarray] = []
        self.sound_rate = tone.RATE
        self.events: list[str] = []
        self.tasks: dict[str, asyncio.Task] = {}
        room.on("track_subscribed", self._subscribed)
        room.on("track_unsubscribed", self._unsubscribed)
        for name in ("reconnecting", "reconnected", "disconnected", "track_muted", "track_unmuted", "track_unsubscribed"):
            room.on(name, lambda *_, name=name: self.events.append(name))

    def _subscribed(self, track, publication, participant):
        watch = self._watch if track.kind == rtc.TrackKind.KIND_VIDEO else self._listen
        self.tasks[track.sid] = asyncio.create_task(watch(track))

    def _unsubscribed(self, track, publication, participant):
        # Its stream would go on with silence.
        self.tasks[track.sid].cancel()
        self.sound.clear()

    async def _watch(self, track):
        stream = rtc.VideoStream(track)
        async for event in stream:
            number = picture.read(event.frame)
            if number is None:
                self.broken += 1
            else:
                self.numbers.append(number)

    async def _listen(self, track):
        stream = rtc.AudioStream(track, sample_rate=self.sound_rate, num_channels=1)
        async for event in stream:
            self.sound.append(np.frombuffer(event.frame.data, np.int16).astype(np.float64))
            self.sound = self.sound[-500:]

    def heard(self, seconds: float) -> np.ndarray:
        """The latest so many seconds of sound; shorter when there is not so much yet."""
        sound = np.concatenate(self.sound) if self.sound else np.zeros(0)
        return sound[-int(seconds * self.sound_rate) :]

    async def close(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


class Stage:
    """Pictures and a tone, published for as long as the stage is open."""

    def __init__(self, room: rtc.Room, hz: float = 440):
        self.room, self.hz, self.sent = room, hz, 0
        self.camera = rtc.VideoSource(picture.WIDTH, picture.HEIGHT)
        self.microphone = rtc.AudioSource(tone.RATE, 1, queue_size_ms=200)

    async def open(self, codec=rtc.VideoCodec.H264, simulcast: bool = False):
        video = rtc.LocalVideoTrack.create_video_track("camera", self.camera)
        audio = rtc.LocalAudioTrack.create_audio_track("microphone", self.microphone)
        chosen = {} if codec is None else {"video_codec": codec, "simulcast": simulcast}
        look = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, **chosen)
        sound = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        self.video = await asyncio.wait_for(self.room.local_participant.publish_track(video, look), PATIENCE)
        self.audio = await asyncio.wait_for(self.room.local_participant.publish_track(audio, sound), PATIENCE)
        self.playing = [asyncio.create_task(self._show()), asyncio.create_task(self._play())]
        return self

    async def _show(self):
        clock = asyncio.get_running_loop().time
        start = clock()
        while True:
            self.camera.capture_frame(picture.draw(self.sent % 65536))
            self.sent += 1
            await asyncio.sleep(max(0, start + self.sent / 20 - clock()))

    async def _play(self):
        at, count = 0, tone.RATE // 100
        while True:
            frame = rtc.AudioFrame(tone.samples(self.hz, at, count), tone.RATE, 1, count)
            await self.microphone.capture_frame(frame)
            at += count

    async def close(self):
        for task in self.playing:
            task.cancel()
        await asyncio.gather(*self.playing, return_exceptions=True)
        await self.camera.aclose()
        await self.microphone.aclose()


async def until(what: str, condition, patience: float = PATIENCE):
    """Waits for `condition()` and says what was missing when it does not come."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not condition():
        assert loop.time() < deadline, f"not within {patience} s: {what}"
        await asyncio.sleep(0.05)


async def sees_and_hears(seen: Seen, stage: Stage, frames: int = 40):
    """Fails unless new frames are decoded, in order and unbroken, and the tone is the right one."""
    already = len(seen.numbers)
    await until(f"{frames} more decoded frames", lambda: len(seen.numbers) >= already + frames)
    fresh = seen.numbers[already:]
    assert fresh == sorted(fresh) and len(set(fresh)) > frames * 0.8, f"out of order: {fresh}"
    assert fresh[-1] <= stage.sent, f"a number nobody sent: {fresh[-1]} of {stage.sent}"
    await until("a second of sound", lambda: len(seen.heard(1)) == seen.sound_rate)

    def tuned():
        hz, share = tone.loudest(seen.heard(1), seen.sound_rate)
        return abs(hz - stage.hz) < 5 and share > 0.8

    await until(f"a clean tone of {stage.hz} Hz, but {tone.loudest(seen.heard(1), seen.sound_rate)}", tuned, 10)

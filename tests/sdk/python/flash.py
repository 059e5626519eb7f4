"""A flash and a beep at the same moment, once a second, and finding both again in a recording."""

import asyncio
import re
import subprocess
import time

import numpy as np
from livekit import rtc

import tone

WIDTH, HEIGHT = 320, 180
HZ = 1000
#: How long a flash and a beep last, s.
LENGTH = 0.12


def _frame(bright: bool) -> rtc.VideoFrame:
    luma = np.full(WIDTH * HEIGHT, 235 if bright else 16, np.uint8)
    chroma = np.full(WIDTH * HEIGHT // 2, 128, np.uint8)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, np.concatenate([luma, chroma]).tobytes())


class Clapper:
    """An SDK's participant that flashes and beeps when the wall clock's fraction of a second is `phase`."""

    def __init__(self, room: rtc.Room, phase: float):
        self.room, self.phase = room, phase
        self.camera = rtc.VideoSource(WIDTH, HEIGHT)
        self.microphone = rtc.AudioSource(tone.RATE, 1, queue_size_ms=0)

    async def open(self):
        video = rtc.LocalVideoTrack.create_video_track("camera", self.camera)
        audio = rtc.LocalAudioTrack.create_audio_track("microphone", self.microphone)
        look = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=rtc.VideoCodec.H264,
            # Every picture is to be sent: one left out at the beginning of a flash moves it.
            video_encoding=rtc.VideoEncoding(max_framerate=30, max_bitrate=1_000_000),
            simulcast=False,
        )
        # Silence is sent, too: a pause would hide where a beep begins.
        sound = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        await self.room.local_participant.publish_track(video, look)
        await self.room.local_participant.publish_track(audio, sound)
        self.playing = asyncio.create_task(self._play())
        return self

    async def _play(self):
        count = tone.RATE // 100
        silence, pictures = bytes(2 * count), [_frame(False), _frame(True)]
        start, step = time.time(), 0
        while True:
            moment = start + step / 100
            await asyncio.sleep(max(0.0, moment - time.time()))
            on = (moment - self.phase) % 1 < LENGTH
            data = tone.samples(HZ, step * count, count) if on else silence
            await self.microphone.capture_frame(rtc.AudioFrame(data, tone.RATE, 1, count))
            if step % 4 == 0:
                self.camera.capture_frame(pictures[on])
            step += 1

    async def close(self):
        self.playing.cancel()
        await asyncio.gather(self.playing, return_exceptions=True)
        await self.camera.aclose()
        await self.microphone.aclose()


def flashes(file) -> list[float]:
    """When pictures turn bright, s of the file's time."""
    command = ["ffmpeg", "-v", "error", "-i", str(file), "-map", "0:v"]
    command += ["-vf", "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-", "-f", "null", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    at = [float(found) for found in re.findall(r"pts_time:(\S+)", text)]
    bright = [float(found) > 125 for found in re.findall(r"YAVG=(\S+)", text)]
    return [at[n] for n in range(1, len(at)) if bright[n] and not bright[n - 1]]


def beeps(file) -> list[float]:
    """When sound begins after silence, s of the file's time."""
    rate = 8000
    command = ["ffmpeg", "-v", "error", "-i", str(file), "-map", "0:a", "-af", "aresample=async=1:first_pts=0"]
    command += ["-ac", "1", "-ar", str(rate), "-f", "s16le", "-"]
    sound = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)
    loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 3000)
    if not len(loud):
        return []
    starts = np.concatenate([[True], np.diff(loud) > 0.4 * rate])
    return [float(at) / rate for at in loud[starts]]


def apart(one: float, other: float) -> float:
    """By how much two moments of something that recurs every second differ, s, -0.5 to 0.5."""
    return (one - other + 0.5) % 1 - 0.5

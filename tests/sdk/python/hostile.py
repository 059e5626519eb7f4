"""A peer that misbehaves, in a process of its own: a participant by aiortc that asks, sends, or connects
far more than anybody should.

    hostile.py URL TOKEN WHAT SECONDS

prints `ready` once media reaches it, begins at a line on its standard input, and prints how often it did it.
"""

import asyncio
import random
import socket
import struct
import sys
import time

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RTCP_PSFB_PLI, RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpRtpfbPacket
from livekit.protocol import rtc as wire


class Peer:
    """A participant of a room that takes every track and publishes nothing."""

    def __init__(self):
        self.connection = RTCPeerConnection()
        self.channels = {}
        self.packets = 0
        self.connection.on("datachannel", lambda channel: self.channels.update({channel.label: channel}))

    async def join(self, session, url: str, token: str):
        self.socket = await session.ws_connect(
            f"{url}/rtc", params={"access_token": token, "auto_subscribe": "1", "protocol": "15", "sdk": "python"}
        )
        asyncio.create_task(self._listen())

    async def _listen(self):
        async for message in self.socket:
            said = wire.SignalResponse.FromString(message.data)
            if said.WhichOneof("message") == "offer":
                await self.connection.setRemoteDescription(RTCSessionDescription(said.offer.sdp, "offer"))
                answer = await self.connection.createAnswer()
                await self.connection.setLocalDescription(answer)
                sdp = self.connection.localDescription.sdp
                reply = wire.SessionDescription(type="answer", sdp=sdp, id=said.offer.id)
                await self.socket.send_bytes(wire.SignalRequest(answer=reply).SerializeToString())

    def pictures(self):
        """The receiver of the camera, and its stream, once its packets come."""
        for transceiver in self.connection.getTransceivers():
            receiver = transceiver.receiver
            streams = getattr(receiver, "_RTCRtpReceiver__remote_streams", {})
            if transceiver.kind == "video" and streams:
                return receiver, next(iter(streams))
        return None

    async def wait_for_pictures(self):
        while not self.pictures():
            await asyncio.sleep(0.05)


async def paced(rate: int, seconds: float, once) -> int:
    """Does it `rate` times a second."""
    start, done = time.monotonic(), 0
    while (passed := time.monotonic() - start) < seconds:
        while done < passed * rate:
            await once()
            done += 1
        await asyncio.sleep(0.002)
    return done


async def plis(peer: Peer, seconds: float) -> int:
    receiver, ssrc = peer.pictures()
    packet = bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=ssrc))
    return await paced(100, seconds, lambda: receiver.transport._send_rtp(packet))


async def nacks(peer: Peer, seconds: float) -> int:
    receiver, ssrc = peer.pictures()
    streams = getattr(receiver, "_RTCRtpReceiver__remote_streams")

    async def once():
        last = streams[ssrc].max_seq or 0
        lost = sorted({(last - back) & 0xFFFF for back in random.sample(range(200), 60)})
        packet = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=ssrc, lost=lost)
        await receiver.transport._send_rtp(bytes(packet))

    return await paced(1000, seconds, once)


async def data(peer: Peer, seconds: float) -> int:
    while "_lossy" not in peer.channels or peer.channels["_lossy"].readyState != "open":
        await asyncio.sleep(0.05)
    channel = peer.channels["_lossy"]
    packet = wire_user(b"x" * 1000)
    sent, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        while channel.bufferedAmount < 500_000:
            channel.send(packet)
            sent += 1
        await asyncio.sleep(0.001)
    return sent


def wire_user(payload: bytes) -> bytes:
    from livekit.protocol import models

    return models.DataPacket(user=models.UserPacket(payload=payload)).SerializeToString()


async def silent(address: tuple[str, int], count: int = 2000) -> int:
    """Connections to the media port that say nothing."""
    held = []
    for _ in range(count):
        held.append(socket.create_connection(address, 5))
        if len(held) % 50 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(3)
    return len(held)


async def addresses(peer: Peer, count: int = 70_000) -> int:
    """Valid connectivity checks of one peer from so many addresses."""
    from aioice import stun

    ice = next(it for it in peer.connection.getTransceivers()).receiver.transport.transport._connection
    target = next(it for it in ice.remote_candidates if it.transport.lower() == "udp")
    for number in range(count):
        check = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        check.attributes["USERNAME"] = f"{ice.remote_username}:{ice.local_username}"
        check.attributes["PRIORITY"] = 1
        check.attributes["ICE-CONTROLLING"] = 1
        check.add_message_integrity(ice.remote_password.encode())
        check.add_fingerprint()
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind((f"127.{1 + number // 60_000}.{number // 250 % 240}.{1 + number % 250}", 0))
            other.sendto(bytes(check), (target.host, target.port))
        if number % 100 == 0:
            await asyncio.sleep(0.005)
    return count


async def main(url: str, token: str, what: str, seconds: str):
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        peer = Peer()
        if what.startswith("silent:"):
            host, port = what.removeprefix("silent:").rsplit(":", 1)
            act = lambda: silent((host, int(port)))
        else:
            await peer.join(session, url, token)
            await asyncio.wait_for(peer.wait_for_pictures(), 20)
            floods = {"plis": plis, "nacks": nacks, "data": data}
            act = (lambda: addresses(peer)) if what == "addresses" else (lambda: floods[what](peer, float(seconds)))
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        print(await act(), flush=True)
        await peer.connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""ffmpeg's RTP, with its own sender reports, behind just enough of an RTSP server (RFC 2326) to be pulled."""

import asyncio
import contextlib
import re
import subprocess
import time

from machine import free_port


class _Port(asyncio.DatagramProtocol):
    def __init__(self, camera: "FfmpegCamera", channel: int):
        self.camera, self.channel = camera, channel

    def datagram_received(self, data, addr):
        self.camera.came(self.channel, data)


class FfmpegCamera:
    """Pictures that flash and sound that beeps when ffmpeg's own time is a whole second."""

    #: Wall time of the first picture.
    began: float | None = None
    #: How often it was played so far.
    sessions = 0

    async def open(self, length: float):
        loop = asyncio.get_running_loop()
        self.watching: dict[asyncio.StreamWriter, set[int]] = {}
        ports = [free_port() & ~1, free_port() & ~1]
        self.closing = []
        for channel, port in enumerate([ports[0], ports[0] + 1, ports[1], ports[1] + 1]):
            transport, _ = await loop.create_datagram_endpoint(
                lambda channel=channel: _Port(self, channel), ("127.0.0.1", port)
            )
            self.closing.append(transport)
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"rtsp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/flash"
        picture = f"color=black:size=320x180:rate=25,drawbox=color=white:t=fill:enable='lt(mod(t,1),{length})'"
        sound = f"aevalsrc='if(lt(mod(t,1),{length}),0.5*sin(2*PI*1000*t),0)':s=8000:n=160"
        command = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", picture, "-re", "-f", "lavfi", "-i", sound]
        command += ["-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"]
        command += ["-pix_fmt", "yuv420p", "-f", "rtp", f"rtp://127.0.0.1:{ports[0]}?pkt_size=1200"]
        command += ["-map", "1:a", "-c:a", "pcm_alaw", "-f", "rtp", f"rtp://127.0.0.1:{ports[1]}?pkt_size=1200"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return self

    def came(self, channel: int, data: bytes):
        if self.began is None and channel == 0:
            self.began = time.time()
        for writer, channels in self.watching.items():
            if channel in channels:
                writer.write(b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        channels: set[int] = set()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = await reader.readexactly(1)
                if first == b"$":
                    header = await reader.readexactly(3)
                    await reader.readexactly(int.from_bytes(header[1:], "big"))
                    continue
                request = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                method, url = request.split(" ")[:2]
                number = re.search(r"(?im)^cseq: *(\d+)", request).group(1)
                head, body = "Session: 1\r\n", ""
                if method == "DESCRIBE":
                    body = (
                        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=flash\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
                        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                        "a=control:0\r\nm=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:2\r\n"
                    )
                    head = f"Content-Base: {self.url}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    at = int(url.rsplit("/", 1)[1])
                    channels |= {at, at + 1}
                    head += f"Transport: RTP/AVP/TCP;unicast;interleaved={at}-{at + 1}\r\n"
                elif method == "OPTIONS":
                    head = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
                writer.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{head}\r\n{body}".encode())
                if method == "PLAY":
                    self.watching[writer] = channels
                    self.sessions += 1
                elif method == "TEARDOWN":
                    break
        self.watching.pop(writer, None)
        writer.close()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.server.close()
        for transport in self.closing:
            transport.close()

"""A server of a test's own: its own ports, data, configuration."""

import asyncio
import contextlib
import os
import random
import socket
import subprocess

from meeting import Site

BINARY = os.environ.get("RONGTONG_BIN")
SECRET = "a-secret-for-this-test-only-and-long-enough"


def free_port() -> int:
    """Below the ports that the system gives to clients, or one of those takes it while the server is down."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                open_.enter_context(socket.socket(type=kind)).bind(("0.0.0.0", port))
            return port


class Machine:
    """A server that can be killed and started again on the same ports and data."""

    def __init__(self, folder, media: str = "", after: str = ""):
        self.http, https, self.udp, self.tcp = (free_port() for _ in range(4))
        self.config = folder / "rongtong.toml"
        self.config.write_text(
            f"""
[server]
http_listen = "127.0.0.1:{self.http}"
https_listen = "127.0.0.1:{https}"
[data]
dir = "{folder / "data"}"
[media]
udp_port = {self.udp}
tcp_port = {self.tcp}
shards = 1
{media}
[livekit]
api_key = "restart"
api_secret = "{SECRET}"
{after}
"""
        )
        self.log = open(folder / "server.log", "ab")
        self.site = Site(f"ws://127.0.0.1:{self.http}", "restart", SECRET)

    async def start(self):
        command = [BINARY, "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.http), 1).close()
                return
            last = "".join(open(self.log.name, errors="replace").readlines()[-3:])
            assert self.process.poll() is None, f"the server ended while starting: {last}"
            await asyncio.sleep(0.1)
        raise AssertionError("the server did not start in 20 s")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.terminate()
        self.process.wait(30)

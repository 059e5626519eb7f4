"""The server's REST API as its first administrator uses it."""

import re

import aiohttp

from machine import Machine
from meeting import until

PASSWORD = "Rongtong-2026!"


class Api:
    def __init__(self, machine: Machine, folder, again: bool = False):
        """`again` where the one-time password has been changed before."""
        self.again = again
        self.url, self.folder = f"http://127.0.0.1:{machine.http}/api/v1", folder

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        if self.again:
            await self.sign_in()
            return self
        told = self.folder / "data" / "first-sign-in.txt"
        # The port is open before anything else is there.
        await until("the one-time password", lambda: told.exists() and "password: " in told.read_text())
        once = re.search(r"password: (\S+)", told.read_text()).group(1)
        self.token = (await self("POST", "/session", account="admin", password=once))["token"]
        await self("POST", "/session/password", old_password=once, new_password=PASSWORD)
        await self.sign_in()
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def sign_in(self):
        self.token = (await self("POST", "/session", account="admin", password=PASSWORD))["token"]

    def _headers(self):
        token = getattr(self, "token", None)
        return {"authorization": f"Bearer {token}"} if token else {}

    async def __call__(self, method: str, path: str, status: int | None = None, **body):
        """The answer's JSON; `status` where it is to be another than success."""
        request = self.session.request(method, self.url + path, json=body or None, headers=self._headers())
        async with request as answer:
            assert answer.status == status if status else answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            return await answer.json() if answer.content_type.endswith("json") else None

    def stream(self, path: str):
        """An answer that is read as it comes."""
        return self.session.get(self.url + path, headers=self._headers())

    async def file(self, path: str):
        async with self.session.get(self.url + path, headers=self._headers()) as answer:
            assert answer.status == 200, f"{path}: {answer.status}"
            to = self.folder / re.sub(r"\W+", "-", path)
            to.write_bytes(await answer.read())
            return to

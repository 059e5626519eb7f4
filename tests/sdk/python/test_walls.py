"""Walls of pictures over REST: what is saved, by whom, and what is refused. Pictures on them: tests/e2e/wall.test.mjs."""

import aiohttp
import pytest

from machine import BINARY, Machine
from rest import Api

SLOTS = [{"cameras": ["a"], "fit": "fill"}, {"cameras": ["a", "b"], "seconds": 20}]


@pytest.mark.skipif(not BINARY, reason="the server is not built")
def test_walls_are_saved_shared_and_guarded(tmp_path, run):
    machine = Machine(tmp_path)

    async def story():
        await machine.start()
        try:
            async with Api(machine, tmp_path) as api:
                mine = await api("POST", "/walls", name="正门", panes=4, slots=SLOTS)
                assert mine["mine"] and mine["slots"][1] == {"cameras": ["a", "b"], "seconds": 20, "fit": "fit"}
                shared = await api("POST", "/walls", name="全景", panes=25, slots=[], shared=True)

                # Somebody else sees what is shared, and changes nothing.
                once = "Member-2026-once!"
                await api("POST", "/people", account="anna", name="Anna", role="member", password=once)
                admin = api.token
                api.token = (await api("POST", "/session", account="anna", password=once))["token"]
                await api("POST", "/session/password", old_password=once, new_password="Member-2026-own!")
                api.token = (await api("POST", "/session", account="anna", password="Member-2026-own!"))["token"]
                assert [(wall["name"], wall["mine"]) for wall in await api("GET", "/walls")] == [("全景", False)]
                for method, wall, status in (("PUT", shared, 403), ("DELETE", shared, 403), ("PUT", mine, 404), ("DELETE", mine, 404)):
                    body = {"name": "x", "panes": 1, "slots": []} if method == "PUT" else {}
                    with pytest.raises(AssertionError, match=f": {status} "):
                        await api(method, f"/walls/{wall['id']}", **body)
                view = await api("POST", "/walls/view", cameras=["nobody"])
                assert view["room"].startswith("wall-") and view["token"] and view["url"].startswith("ws")
                await api("PUT", f"/walls/view/{view['room']}", cameras=["nobody", "else"])
                member, api.token = api.token, admin
                # A view is its viewer's alone.
                with pytest.raises(AssertionError, match=": 404 "):
                    await api("PUT", f"/walls/view/{view['room']}", cameras=["nobody"])

                for body in (
                    {"name": " ", "panes": 4, "slots": []},
                    {"name": "x", "panes": 5, "slots": []},
                    {"name": "x", "panes": 1, "slots": SLOTS},
                    {"name": "x", "panes": 1, "slots": [{"cameras": ["a"], "seconds": 4}]},
                    {"name": "x", "panes": 1, "slots": [{"cameras": ["a"] * 65}]},
                    {"name": "x", "panes": 1, "slots": [{"fit": "stretch"}]},
                ):
                    with pytest.raises(AssertionError, match=": 4(00|22) "):
                        await api("POST", "/walls", **body)
                with pytest.raises(AssertionError, match=": 422 "):
                    await api("POST", "/walls/view", cameras=[str(number) for number in range(201)])
                # A wall's room is nobody's meeting.
                with pytest.raises(AssertionError, match=": 422 "):
                    await api("POST", "/rooms", name="wall-1", title="x")
                changed = await api("PUT", f"/walls/{mine['id']}", name="正门 2", panes=1, slots=[], shared=True)
                assert (changed["panes"], changed["slots"]) == (1, [])
                await api("DELETE", f"/walls/{mine['id']}")
                assert [wall["name"] for wall in await api("GET", "/walls")] == ["全景"]
                async with aiohttp.ClientSession() as nobody:
                    for method, path in (("GET", "/walls"), ("POST", "/walls"), ("POST", "/walls/view"), ("DELETE", f"/walls/{shared['id']}")):
                        async with nobody.request(method, api.url + path, json={}) as answer:
                            assert answer.status == 401, path
                assert member
        finally:
            machine.terminate()

    run(story())

"""Data, calls, attributes, and who may come in."""

import asyncio

import pytest
from livekit import rtc

from meeting import Site, new_room, until


def test_reliable_data_arrives_in_order_and_from_whom_it_came(site, run, single):
    async def story():
        room, got = new_room(), []
        async with site.join(room, "a", single) as (a, _), site.join(room, "b", not single) as (b, _):
            b.on("data_received", lambda packet: got.append((packet.participant.identity, packet.data, packet.topic)))
            await until("each other", lambda: "b" in a.remote_participants and "a" in b.remote_participants)
            for n in range(100):
                await a.local_participant.publish_data(f"{n}", reliable=True, topic="count")
            await until("100 messages", lambda: len(got) == 100)
            assert got == [("a", str(n).encode(), "count") for n in range(100)]

    run(story())


def test_lossy_data_arrives(site, run, single):
    async def story():
        room, got = new_room(), []
        async with site.join(room, "a", single) as (a, _), site.join(room, "b", single) as (b, _):
            b.on("data_received", lambda packet: got.append(packet.data))
            await until("each other", lambda: "b" in a.remote_participants and "a" in b.remote_participants)
            for n in range(50):
                await a.local_participant.publish_data(f"{n}", reliable=False)
                await asyncio.sleep(0.02)
            await until("most of 50 messages", lambda: len(got) >= 40)

    run(story())


def test_a_message_for_one_reaches_only_that_one(site, run, single):
    async def story():
        room, b_got, c_got = new_room(), [], []
        async with (
            site.join(room, "a", single) as (a, _),
            site.join(room, "b", single) as (b, _),
            site.join(room, "c", single) as (c, _),
        ):
            b.on("data_received", lambda packet: b_got.append(packet.data))
            c.on("data_received", lambda packet: c_got.append(packet.data))
            await until("each other", lambda: {"b", "c"} <= set(a.remote_participants))
            await a.local_participant.publish_data("for b", destination_identities=["b"])
            await a.local_participant.publish_data("for all")
            await until("both", lambda: len(b_got) == 2 and len(c_got) == 1)
            assert (b_got, c_got) == ([b"for b", b"for all"], [b"for all"])

    run(story())


def test_without_the_grant_data_goes_nowhere(site, run, single):
    async def story():
        room, got = new_room(), []
        async with (
            site.join(room, "muzzled", single, can_publish_data=False) as (muzzled, _),
            site.join(room, "a", single) as (a, _),
            site.join(room, "b", single) as (b, _),
        ):
            b.on("data_received", lambda packet: got.append(packet.data))
            await until("each other", lambda: {"muzzled", "a"} <= set(b.remote_participants))
            await muzzled.local_participant.publish_data("no")
            await asyncio.sleep(1)
            await a.local_participant.publish_data("yes")
            await until("the allowed one", lambda: got == [b"yes"])

    run(story())


def test_a_call_is_answered(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "a", single) as (a, _), site.join(room, "b", not single) as (b, _):

            @b.local_participant.register_rpc_method("add")
            async def add(call: rtc.RpcInvocationData):
                return str(sum(int(n) for n in call.payload.split()))

            await until("each other", lambda: "b" in a.remote_participants)
            answer = await a.local_participant.perform_rpc(destination_identity="b", method="add", payload="2 3")
            assert answer == "5"

    run(story())


def test_text_longer_than_a_message_arrives_as_a_stream(site, run, single):
    async def story():
        room, got = new_room(), []
        text = "融通 " * 20_000

        async with site.join(room, "a", single) as (a, _), site.join(room, "b", single) as (b, _):

            async def read(reader):
                got.append(await reader.read_all())

            b.register_text_stream_handler("essay", lambda reader, _: asyncio.ensure_future(read(reader)))
            await until("each other", lambda: "b" in a.remote_participants)
            await a.local_participant.send_text(text, topic="essay")
            await until("the text", lambda: got == [text])

    run(story())


def test_names_and_attributes_reach_the_others(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "a", single) as (a, _), site.join(room, "b", single) as (b, _):
            await a.local_participant.set_attributes({"unit": "fire"})
            await a.local_participant.set_name("台长")
            await until(
                "the change",
                lambda: "a" in b.remote_participants
                and b.remote_participants["a"].attributes.get("unit") == "fire"
                and b.remote_participants["a"].name == "台长",
            )

    run(story())


@pytest.mark.parametrize("fault", ["expired", "wrong_secret", "unknown_key"])
def test_bad_tokens_are_refused(site, run, single, fault):
    bad = {
        "expired": lambda: site.token("x", "a", seconds=-600),
        "wrong_secret": lambda: Site(site.url, site.key, "not-the-secret-but-long-enough-for-it").token("x", "a"),
        "unknown_key": lambda: Site(site.url, "nobody", site.secret).token("x", "a"),
    }

    async def story():
        options = rtc.RoomOptions(single_peer_connection=single, connect_timeout=5)
        with pytest.raises(rtc.ConnectError) as refusal:
            await rtc.Room().connect(site.url, bad[fault](), options)
        assert "401" in str(refusal.value)

    run(story())


def test_a_source_that_is_not_granted_is_not_published(site, run, single):
    async def story():
        async with site.join(new_room(), "a", single, can_publish_sources=["microphone"]) as (a, _):
            track = rtc.LocalVideoTrack.create_video_track("camera", rtc.VideoSource(320, 180))
            look = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
            with pytest.raises(Exception):
                await asyncio.wait_for(a.local_participant.publish_track(track, look), 15)

    run(story())

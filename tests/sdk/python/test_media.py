"""Pictures and sound between official clients, in both connection modes."""

import asyncio

import pytest
from livekit import rtc

from machine import BINARY, Machine
from meeting import Stage, new_room, sees_and_hears, until


@pytest.mark.parametrize("viewer_single", [True, False], ids=["to-single", "to-dual"])
def test_pictures_and_a_tone_arrive(site, run, single, viewer_single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", viewer_single) as (_, seen):
            stage = await Stage(actor).open()
            await sees_and_hears(seen, stage)
            await stage.close()

    run(story())


def test_who_comes_late_sees_what_is_already_there(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _):
            stage = await Stage(actor, 660).open()
            await asyncio.sleep(2)
            async with site.join(room, "late", single) as (_, seen):
                await sees_and_hears(seen, stage)
            async with site.join(room, "later", single) as (_, seen):
                await sees_and_hears(seen, stage)
            await stage.close()

    run(story())


def test_both_see_each_other(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "a", single) as (a, a_seen), site.join(room, "b", single) as (b, b_seen):
            a_stage, b_stage = await asyncio.gather(Stage(a, 440).open(), Stage(b, 880).open())
            await asyncio.gather(sees_and_hears(a_seen, b_stage), sees_and_hears(b_seen, a_stage))
            await asyncio.gather(a_stage.close(), b_stage.close())

    run(story())


def test_a_room_takes_vp8_from_who_offers_nothing_else(site, run, single):
    """This SDK's own default; it offers only the codec it was told to use."""

    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", single) as (_, seen):
            stage = await Stage(actor).open(codec=None)
            await sees_and_hears(seen, stage)
            await stage.close()

    run(story())


@pytest.mark.skipif(not BINARY, reason="RONGTONG_BIN does not name a server's binary")
def test_a_room_for_h264_takes_nothing_else_and_says_so(tmp_path, run, single):
    """There is nothing to agree on with an SDK that offers VP8 alone. It waits in vain for a track announced
    as VP8 (the answer that names the reason it does not read), and one whose codec shows only in
    the offer it sees muted."""
    machine = Machine(tmp_path, media='codec_policy = "h264"')

    async def story():
        await machine.start()
        room, site = new_room(), machine.site
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", single) as (_, seen):
            muted = []
            actor.on("track_muted", lambda _, publication: muted.append(publication.sid))
            with pytest.raises(rtc.participant.PublishTrackError):
                await Stage(actor, 550).open(codec=None)
            refused = await Stage(actor, 550).open(codec=rtc.VideoCodec.VP8)
            await until("being told", lambda: refused.video.sid in muted)
            assert not seen.numbers
            await actor.local_participant.unpublish_track(refused.audio.sid)
            await refused.close()

            stage = await Stage(actor).open(codec=rtc.VideoCodec.H264)
            await sees_and_hears(seen, stage)
            await stage.close()

    try:
        run(story())
    finally:
        machine.kill()


def test_simulcast_reaches_the_viewer(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", single) as (viewer, seen):
            stage = await Stage(actor).open(simulcast=True)
            await sees_and_hears(seen, stage)
            assert viewer.remote_participants["actor"].track_publications[stage.video.sid].simulcasted
            await stage.close()

    run(story())


def test_muting_stops_the_pictures_and_unmuting_brings_them_back(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", single) as (_, seen):
            stage = await Stage(actor).open()
            await sees_and_hears(seen, stage)
            stage.video.track.mute()
            await until("being told of the mute", lambda: "track_muted" in seen.events)
            await asyncio.sleep(1)
            still = len(seen.numbers)
            await asyncio.sleep(1)
            assert len(seen.numbers) - still <= 2
            stage.video.track.unmute()
            await until("being told of the unmute", lambda: "track_unmuted" in seen.events)
            await sees_and_hears(seen, stage)
            await stage.close()

    run(story())


def test_an_unpublished_track_is_gone(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _), site.join(room, "viewer", single) as (viewer, seen):
            stage = await Stage(actor).open()
            await sees_and_hears(seen, stage)
            await actor.local_participant.unpublish_track(stage.video.sid)
            await until("the end of the track", lambda: "track_unsubscribed" in seen.events)
            assert stage.video.sid not in viewer.remote_participants["actor"].track_publications
            await stage.close()

    run(story())


def test_the_publisher_is_told_of_its_first_subscriber(site, run, single):
    async def story():
        room = new_room()
        async with site.join(room, "actor", single) as (actor, _):
            stage = await Stage(actor).open()
            async with site.join(room, "viewer", single):
                await asyncio.wait_for(stage.video.wait_for_subscription(), 10)
            await stage.close()

    run(story())

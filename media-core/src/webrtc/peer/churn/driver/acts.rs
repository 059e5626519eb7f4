//! What can happen: each done to the rooms and said to the model.

use super::*;

impl World {
    pub(super) fn join(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        let name = RoomName::new(format!("room-{index}"));
        let policy = [CodecPolicy::PreferH264, CodecPolicy::Any, CodecPolicy::H264][index % 3];
        if self.halls[index].is_none() {
            let room = self.rooms.open(&name, || RoomOptions {
                codec_policy: policy,
                empty_timeout: EMPTY_TIMEOUT.as_secs() as u32,
                max_participants: MAX_PARTICIPANTS,
                ..RoomOptions::default()
            });
            self.all_rooms.push(Arc::downgrade(&room));
            self.halls[index] = Some(Hall { room, model: model::Room::default(), empty_since: Some(Instant::now()) });
        }
        let identity = format!("person-{}", self.rng.random_range(0..IDENTITIES));
        let kind =
            [ParticipantKind::Person, ParticipantKind::Person, ParticipantKind::Recorder, ParticipantKind::Camera]
                [self.rng.random_range(0..4)];
        let permission = self.any_permission();
        self.note(format!("{identity} ({kind:?}) comes to {index}"));
        let join = Join { identity: identity.clone(), kind, permission: permission.clone(), ..Join::default() };
        let hall = self.halls[index].as_mut().unwrap();
        let came = hall.room.join(join);
        let identity = Identity::new(&identity);
        let twin =
            hall.model.members.iter().find(|(_, member)| member.identity == identity).map(|(sid, _)| sid.clone());
        if let Some(twin) = twin {
            hall.model.take_out(&twin);
        }
        if hall.model.visible() >= MAX_PARTICIPANTS as usize {
            assert_eq!(came.err(), Some(RoomError::Full(MAX_PARTICIPANTS)));
            hall.note_empty();
            return;
        }
        let came = came.unwrap();
        let sid = came.info.sid.clone();
        let member = model::Member {
            identity,
            kind,
            permission,
            audience: Audience::default(),
            tracks: BTreeMap::new(),
            wishes: BTreeSet::new(),
        };
        hall.model.members.insert(sid.clone(), member);
        hall.note_empty();
        let client = (kind != ParticipantKind::Camera).then(|| {
            let single = self.rng.random_bool(0.5);
            let decodes = match self.rng.random_range(0..6) {
                0 => vec![Codec::Opus, Codec::Vp8],
                1 => vec![Codec::Opus, Codec::H264],
                _ => vec![Codec::Opus, Codec::H264, Codec::Vp8],
            };
            let topology = if single { Topology::Single } else { Topology::Dual };
            let (peer, inputs) = Peer::new(self.endpoint.clone(), hall.room.clone(), &came.info, topology);
            self.peers.push(Arc::downgrade(&peer));
            Client {
                peer,
                inputs,
                browser: Browser::new(decodes, single),
                auto: self.rng.random_bool(0.7),
                slow: false,
                away: false,
                offered: None,
                announced: BTreeMap::new(),
                next_cid: 0,
                peak: 0,
            }
        });
        self.seats.push(Seat { hall: index, sid, events: came.events, client, sources: Vec::new() });
        let at = self.seats.len() - 1;
        if self.seats[at].client.as_ref().is_some_and(|client| client.peer.topology() == Topology::Single) {
            self.offer(at);
        }
        if self.seats[at].client.as_ref().is_some_and(|client| client.auto) {
            for track in self.hall(index).model.tracks() {
                self.subscribe_to(at, &track);
            }
        }
    }

    pub(super) fn leave(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = self.seats.remove(at);
        if let Some(client) = &seat.client {
            client.check_sections();
        }
        self.note(format!("{} goes", seat.sid));
        let hall = self.halls[seat.hall].as_mut().unwrap();
        hall.model.take_out(&seat.sid);
        hall.note_empty();
        // In any order, as sessions end.
        if self.rng.random_bool(0.5) {
            hall.room.leave(&seat.sid, LeaveReason::ClientInitiated);
        } else {
            let (room, sid) = (hall.room.clone(), seat.sid.clone());
            drop(seat);
            room.leave(&sid, LeaveReason::ClientInitiated);
        }
    }

    pub(super) fn close(&mut self) {
        if self.chance(70) {
            return;
        }
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        self.note(format!("{index} is closed"));
        self.rooms.close(&RoomName::new(format!("room-{index}")), LeaveReason::RoomClosed);
        let hall = self.hall(index);
        hall.model.members.clear();
        let room = hall.room.clone();
        self.seats.retain_mut(|seat| {
            let out = seat.hall == index;
            if out {
                let mut told = std::iter::from_fn(|| seat.events.try_recv().ok());
                assert!(told.any(|event| matches!(event, RoomEvent::Removed(LeaveReason::RoomClosed))));
            }
            !out
        });
        self.halls[index] = None;
        assert!(room.join(Join { identity: "late".into(), ..Join::default() }).is_err());
    }

    /// A track that the client sends itself.
    pub(super) fn publish(&mut self) {
        let Some(at) = self.any_client() else { return };
        let source = [Source::Microphone, Source::Camera, Source::ScreenShare][self.rng.random_range(0..3)];
        let codecs = match (source, self.rng.random_range(0..4)) {
            (Source::Microphone, _) => vec![Codec::Opus],
            (_, 0) => vec![Codec::Vp8],
            (_, 1) => vec![Codec::H264],
            _ => vec![Codec::H264, Codec::Vp8],
        };
        let (again, at_once) = (self.chance(50), self.chance(80));
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let cid = format!("cid-{}", client.next_cid);
        client.next_cid += 1;
        let params = if is_sound(codecs[0]) { CodecParams::opus() } else { CodecParams::video(codecs[0]) };
        let added = client.peer.add_track(&cid, TrackSpec::new(source, params));
        let allowed = self.halls[seat.hall].as_ref().unwrap().model.members[&seat.sid].permission.allows_source(source);
        let sid = match added {
            Ok(info) => info.sid.clone(),
            Err(PeerError::Room(RoomError::NotAllowed(_))) if !allowed => return,
            Err(error) => panic!("{error}"),
        };
        assert!(allowed);
        client.browser.send(&cid, &codecs, again);
        client
            .announced
            .insert(cid.clone(), Announced { sid: sid.clone(), source, codecs: codecs.clone(), published: false });
        let what = format!("{} announces {cid}, {source:?} {codecs:?}, as {sid}", seat.sid);
        self.note(what);
        if at_once {
            self.offer(at);
        }
    }

    pub(super) fn offer(&mut self, at: usize) {
        if self.is_over(self.seats[at].hall) || self.seats[at].client.as_ref().is_some_and(|client| client.away) {
            return;
        }
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let sdp = client.browser.offer();
        let single = client.peer.topology() == Topology::Single;
        let answer = client.peer.publisher_offer(&sdp).unwrap();
        client.browser.take_answer(&answer.sdp, single);
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let sends = client.browser.sends();
        // What it has stopped sending ends, and what it announced begins.
        let ended: Vec<String> = client.announced.keys().filter(|cid| !sends.contains(cid)).cloned().collect();
        for cid in ended {
            let was = client.announced.remove(&cid).unwrap();
            hall.model.unpublish(&was.sid);
        }
        let strict = hall.room.codec_policy() == CodecPolicy::H264;
        for announced in client.announced.values_mut().filter(|announced| !announced.published) {
            let member = hall.model.members.get_mut(&seat.sid).unwrap();
            let fits = !strict || announced.codecs.contains(&Codec::H264) || is_sound(announced.codecs[0]);
            announced.published = fits && member.permission.allows_source(announced.source);
            if announced.published {
                member.tracks.insert(announced.sid.clone(), announced.source);
                self.known.push_back(announced.sid.clone());
            }
        }
        self.known.drain(..self.known.len().saturating_sub(100));
        let what = format!("{} offers {sends:?}", seat.sid);
        self.note(what);
    }

    pub(super) fn unpublish(&mut self) {
        let Some(at) = self.any_client() else { return };
        let way = self.rng.random_range(0..10);
        let seat = &mut self.seats[at];
        let client = seat.client.as_mut().unwrap();
        let cids: Vec<String> = client.announced.keys().cloned().collect();
        let Some(cid) = cids.choose(&mut self.rng).cloned() else { return };
        client.browser.stop_sending(&cid);
        let sid = client.announced[&cid].sid.clone();
        let what = format!(
            "{} takes {cid} back, {}",
            seat.sid,
            match way {
                0 => "by its word",
                1..6 => "by an offer",
                _ => "later",
            }
        );
        if way == 0 {
            client.peer.unpublish(&sid);
            client.announced.remove(&cid);
            self.halls[seat.hall].as_mut().unwrap().model.unpublish(&sid);
        }
        self.note(what);
        // Otherwise with whatever it offers next; its place may be another's by then.
        if (1..6).contains(&way) {
            self.offer(at);
        }
    }

    /// A track that an adapter feeds.
    pub(super) fn feed(&mut self) {
        let Some(at) = self.any_seat() else { return };
        if self.chance(40) {
            return self.write(at);
        }
        let (source, codec) = match self.rng.random_range(0..8) {
            0..3 => (Source::Microphone, CodecParams::opus()),
            3 => (Source::Camera, CodecParams::video(Codec::H265)),
            4 => (Source::Camera, CodecParams::video(Codec::Vp8)),
            _ => (Source::Camera, CodecParams::h264()),
        };
        let keyframes = if self.chance(50) { Keyframes::OnRequest } else { Keyframes::Cached };
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let member = hall.model.members.get_mut(&seat.sid).unwrap();
        let published = hall.room.publish(&seat.sid, TrackSpec::new(source, codec), keyframes);
        if !member.permission.allows_source(source) {
            assert_eq!(published.err(), Some(RoomError::NotAllowed("publish this source")));
            return;
        }
        let published = published.unwrap();
        let sid = published.info().sid.clone();
        member.tracks.insert(sid.clone(), source);
        self.known.push_back(sid.clone());
        seat.sources.push(published);
        let what = format!("{} is fed {sid}", seat.sid);
        self.note(what);
    }

    /// A group of pictures, or of sound.
    fn write(&mut self, at: usize) {
        let Some(source) = self.seats[at].sources.first() else { return };
        let start = self.count as u64 * 10;
        let batch = (0..6u64).map(|index| {
            let payload: &[u8] = if index == 0 { &[0x65, 0x88, 0x84, 0x21] } else { &[0x41, 0x9a, 0x02, 0x03] };
            let number = start + index;
            SourcePacket::new(number, (number * 3000) as u32, true, Bytes::from_static(payload))
        });
        source.write(batch.collect());
    }

    pub(super) fn stop_feeding(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &mut self.seats[at];
        if seat.sources.is_empty() {
            return;
        }
        let source = seat.sources.remove(self.rng.random_range(0..seat.sources.len()));
        let sid = source.info().sid.clone();
        self.halls[seat.hall].as_mut().unwrap().model.unpublish(&sid);
        let what = format!("{} is not fed {sid} any more", seat.sid);
        drop(source);
        self.note(what);
    }

    pub(super) fn subscribe(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let Some(track) = self.any_track(self.seats[at].hall) else { return };
        self.subscribe_to(at, &track);
    }

    pub(super) fn subscribe_to(&mut self, at: usize, track: &TrackSid) {
        if self.is_over(self.seats[at].hall) {
            return;
        }
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let expected = hall.model.may(&seat.sid, track);
        let got = match &mut seat.client {
            None => hall.room.subscribe(&seat.sid, track).map(|_| ()),
            Some(client) => match client.peer.subscribe(track) {
                Ok(()) => {
                    client.peak = client.peak.max(client.peer.state.lock().subscriptions.len());
                    Ok(())
                }
                Err(PeerError::Room(error)) => Err(error),
                Err(PeerError::CodecUnsupported { .. }) => {
                    assert_eq!(hall.room.track(track).unwrap().spec.codec.codec, Codec::H265);
                    return;
                }
                Err(other) => panic!("{other}"),
            },
        };
        let wishes = &mut hall.model.members.get_mut(&seat.sid).unwrap().wishes;
        match expected {
            Ok(()) | Err(RoomError::NotAllowed(_) | RoomError::NotInAudience) => drop(wishes.insert(track.clone())),
            Err(_) => drop(wishes.remove(track)),
        }
        let what = format!("{} asks for {track}: {got:?}", seat.sid);
        self.note(what);
        assert_eq!(got, expected);
    }

    pub(super) fn unsubscribe(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &mut self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let wishes = &mut hall.model.members.get_mut(&seat.sid).unwrap().wishes;
        let all: Vec<TrackSid> = wishes.iter().cloned().collect();
        let Some(track) = all.choose(&mut self.rng) else { return };
        wishes.remove(track);
        match &seat.client {
            None => drop(hall.room.unsubscribe(&seat.sid, track)),
            Some(client) => client.peer.unsubscribe(track),
        }
        let what = format!("{} gives {track} up", seat.sid);
        self.note(what);
    }

    fn any_permission(&mut self) -> Permission {
        let full = Permission::full();
        match self.rng.random_range(0..10) {
            0 => Permission { can_subscribe: false, ..full },
            1 => Permission { can_publish: false, ..full },
            2 => Permission { sources: vec![Source::Camera], ..full },
            3 => Permission { hidden: true, ..full },
            _ => full,
        }
    }

    pub(super) fn permit(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let permission = self.any_permission();
        let seat = &self.seats[at];
        let hall = self.halls[seat.hall].as_mut().unwrap();
        let change = ParticipantChange { permission: Some(permission.clone()), ..ParticipantChange::default() };
        hall.room.update_participant(&seat.sid, change).unwrap();
        let member = hall.model.members.get_mut(&seat.sid).unwrap();
        let gone: Vec<TrackSid> = member
            .tracks
            .iter()
            .filter(|(_, source)| !permission.allows_source(**source))
            .map(|(track, _)| track.clone())
            .collect();
        let what = format!("{} may now {permission:?}", seat.sid);
        member.permission = permission;
        gone.iter().for_each(|track| hall.model.unpublish(track));
        self.note(what);
    }

    pub(super) fn choose_audience(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let index = self.seats[at].hall;
        let mut audience = Audience::default();
        if self.chance(70) {
            audience.everybody = false;
            for _ in 0..self.rng.random_range(0..4) {
                let sids: Vec<ParticipantSid> = self.hall(index).model.members.keys().cloned().collect();
                let listener = if self.chance(50) {
                    Listener::Sid(sids.choose(&mut self.rng).unwrap().clone())
                } else {
                    Listener::Identity(Identity::new(format!("person-{}", self.rng.random_range(0..IDENTITIES))))
                };
                let tracks = match (self.chance(50), self.any_track(index)) {
                    (true, Some(track)) => Tracks::These(vec![track]),
                    _ => Tracks::All,
                };
                audience.listed.push(Listed { listener, tracks });
            }
        }
        let sid = self.seats[at].sid.clone();
        let hall = self.hall(index);
        hall.room.set_audience(&sid, audience.clone()).unwrap();
        hall.model.members.get_mut(&sid).unwrap().audience = audience.clone();
        self.note(format!("{sid} chooses {audience:?}"));
    }

    pub(super) fn mute(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        let Some(track) = self.any_track(index) else { return };
        let (muted, asked) = (self.chance(60), self.chance(50));
        self.note(format!("{track} muted: {muted}, {}", if asked { "by the host" } else { "by its publisher" }));
        let hall = self.halls[index].as_ref().unwrap();
        let done = if asked { hall.room.request_mute(&track, muted) } else { hall.room.set_muted(&track, muted) };
        assert_eq!(done.is_ok(), hall.model.tracks().contains(&track));
    }

    pub(super) fn adjust(&mut self) {
        let Some(at) = self.any_client() else { return };
        let Some(track) = self.any_track(self.seats[at].hall) else { return };
        let settings = TrackSettings {
            disabled: self.chance(40),
            quality: [None, Some(LayerQuality::Low), Some(LayerQuality::High)][self.rng.random_range(0..3)],
            width: self.rng.random_range(0..2000),
            height: self.rng.random_range(0..1000),
            fps: 0,
            priority: 0,
        };
        self.seats[at].client.as_ref().unwrap().peer.adjust(&track, settings);
    }

    pub(super) fn tap(&mut self) {
        let Some(at) = self.any_seat() else { return };
        let seat = &self.seats[at];
        let (index, sid) = (seat.hall, seat.sid.clone());
        let Some(track) = self.any_track(index) else { return };
        let holder = if self.chance(50) { Holder::Participant(sid.clone()) } else { Holder::Service("test") };
        let hall = self.hall(index);
        let (expected, named) = match &holder {
            Holder::Participant(sid) => (hall.model.may(sid, &track), Some(sid.clone())),
            Holder::Service(_) if hall.model.tracks().contains(&track) => (Ok(()), None),
            Holder::Service(_) => (Err(RoomError::NoTrack), None),
        };
        match hall.room.tap(&holder, &track, 16) {
            Ok(tap) => {
                assert_eq!(expected, Ok(()));
                let model = model::Tap { room: index, holder: named, track: track.clone() };
                self.taps.push(Tapped { tap, model });
            }
            Err(error) => assert_eq!(expected, Err(error)),
        }
        self.note(format!("{holder:?} taps {track}"));
    }

    pub(super) fn drop_tap(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        let tapped = self.taps.remove(self.rng.random_range(0..self.taps.len()));
        self.note(format!("a tap of {} is dropped", tapped.model.track));
    }

    /// A client stops answering for a while, or answers what has waited.
    pub(super) fn be_slow(&mut self) {
        let Some(at) = self.any_client() else { return };
        let client = self.seats[at].client.as_mut().unwrap();
        client.slow = !client.slow;
        let what = format!(
            "{} is {}",
            self.seats[at].sid,
            if self.seats[at].client.as_ref().unwrap().slow { "slow" } else { "quick" }
        );
        self.note(what);
        self.answer(at);
    }

    pub(super) fn answer(&mut self, at: usize) {
        let client = self.seats[at].client.as_mut().unwrap();
        if client.slow {
            return;
        }
        let Some(offered) = client.offered.take() else { return };
        let before = client.browser.receives.clone();
        let answer = client.browser.answer(&offered.sdp, &offered.mid_to_track);
        match client.peer.subscriber_answer(&answer, Some(offered.id)) {
            Ok(()) => assert!(!offered.stale),
            Err(PeerError::WrongState(_)) if offered.stale => client.browser.receives = before,
            Err(error) => panic!("{error}"),
        }
    }

    /// The signalling connection was lost and is back.
    pub(super) fn resume(&mut self) {
        let Some(at) = self.any_client() else { return };
        let lost = self.chance(50);
        let client = self.seats[at].client.as_mut().unwrap();
        if client.peer.topology() == Topology::Single {
            client.away = !client.away;
            let away = client.away;
            if !away {
                client.peer.resume();
                self.offer(at);
            }
            let what = format!("{} is {}", self.seats[at].sid, if away { "away" } else { "back" });
            return self.note(what);
        }
        client.peer.resume();
        match &mut client.offered {
            Some(offered) if !lost => offered.stale = true,
            offered => *offered = None,
        }
        let what = format!("{} resumes", self.seats[at].sid);
        self.note(what);
        self.answer(at);
    }

    /// The host takes a track out.
    pub(super) fn take_back(&mut self) {
        let index = self.rng.random_range(0..ROOMS);
        if self.halls[index].is_none() {
            return;
        }
        let Some(track) = self.any_track(index) else { return };
        self.note(format!("{track} is taken out"));
        let hall = self.hall(index);
        hall.room.unpublish(&track);
        if hall.model.tracks().contains(&track) {
            hall.model.unpublish(&track);
        }
    }
}

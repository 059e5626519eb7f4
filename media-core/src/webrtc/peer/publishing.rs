//! What a client publishes: announced, negotiated, muted, taken back.

use super::{Announcement, Peer, PeerError, PeerEvent, Pending, Published, SdpAnswer, SoundOptions, State, Topology};
use crate::ids::TrackSid;
use crate::media::{Keyframes, Kind};
use crate::room::TrackInfo;
use crate::shard::TrackKey;
use crate::webrtc::codecs;
use crate::webrtc::connection::{Binding, Taken, Use, Wanted};
use crate::webrtc::sdp::{RemoteDescription, SdpError, SectionKind};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Peer {
    /// Announces a track; its sid holds from now on, the room sees it once it is negotiated.
    pub fn add_track(&self, cid: &str, announcement: impl Into<Announcement>) -> Result<Arc<TrackInfo>, PeerError> {
        if cid.is_empty() || cid.len() > 256 {
            return Err(PeerError::NotAllowed("announce a track without a client id"));
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        if let Some(pending) = state.pending.iter().find(|pending| pending.cid == cid) {
            return Ok(pending.info.clone());
        }
        if state.pending.len() >= 32 {
            return Err(PeerError::TooMany("announced tracks"));
        }
        // The room's codec policy decides; the answer will say so to the browser.
        let Announcement { mut spec, rids, sound } = announcement.into();
        spec.codec = codecs::admitted(self.room.codec_policy(), spec.codec);
        let info = self.room.draft(&self.sid, spec)?;
        state.pending.push(Pending { cid: cid.to_owned(), info: info.clone(), rids, sound });
        Ok(info)
    }

    /// Answers the client's offer, binds announced tracks, places subscriptions (Single).
    pub fn publisher_offer(&self, sdp: &str) -> Result<SdpAnswer, PeerError> {
        let offer = RemoteDescription::parse(sdp)?;
        if offer.setup == "passive" {
            return Err(SdpError::Unsupported("the DTLS server role").into());
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        let policy = self.room.codec_policy();
        let mut bound: Vec<(String, Arc<TrackInfo>, String)> = Vec::new();
        let State { publisher, pending, published, subscriptions, .. } = &mut *state;
        let mut waiting: Vec<Wanted> = match self.topology {
            Topology::Dual => Vec::new(),
            Topology::Single => {
                subscriptions.iter().filter(|wanted| !publisher.sends(&wanted.info.sid)).cloned().collect()
            }
        };
        // Sections in which the client has sent before, and what they were bound to.
        let sections_before = publisher.sections.len();
        let known: Vec<(String, Option<TrackKey>)> = publisher
            .sections
            .iter()
            .filter_map(|section| match &section.usage {
                Use::Receive { track, .. } => Some((section.mid.clone(), *track)),
                _ => None,
            })
            .collect();
        let mut replaced: Vec<TrackKey> = Vec::new();
        let Taken { answers, mut ended, refused } = publisher.take_offer(
            &offer,
            policy,
            |remote, choice| {
                let kind = if remote.kind == SectionKind::Audio { Kind::Audio } else { Kind::Video };
                let (stream, track) = remote.msid.clone().unwrap_or_default();
                let before = known.iter().find(|(mid, _)| *mid == remote.mid);
                if let Some((_, Some(key))) = before {
                    let key = *key;
                    let Published { cid, codec, rids, .. } = published.iter().find(|track| track.key == key)?;
                    // The place may be another track's by now (RFC 8829 5.2.2: its msid says so).
                    let is_other = |pending: &Pending| pending.cid == track && pending.cid != *cid;
                    if !pending.iter().any(is_other) {
                        let rids = rids.clone();
                        return Some(Binding { key, rids, preferred: *codec, red_first: false, opus_extra: "" });
                    }
                    replaced.push(key);
                }
                let at = pending
                    .iter()
                    .position(|pending| {
                        pending.info.spec.kind == kind && (pending.cid == track || pending.cid == stream)
                    })
                    // Some clients' ids differ between signalling and description; a single candidate is
                    // it, but not for a section whose own track was refused or taken out.
                    .or_else(|| {
                        if before.is_some() {
                            return None;
                        }
                        let mut of_kind =
                            pending.iter().enumerate().filter(|(_, pending)| pending.info.spec.kind == kind);
                        let first = of_kind.next()?.0;
                        of_kind.next().is_none().then_some(first)
                    })?;
                let announced = pending.remove(at);
                let mut info = (*announced.info).clone();
                let chosen = codecs::choose_published(remote, policy, info.spec.codec.codec);
                if let Some(params) = chosen.as_ref().unwrap_or(choice).params() {
                    info.spec.codec = params;
                }
                let SoundOptions { no_dtx, stereo, red: red_first } = announced.sound;
                let opus_extra = match (no_dtx, stereo) {
                    (false, false) => "usedtx=1",
                    (false, true) => "usedtx=1;stereo=1;maxaveragebitrate=510000",
                    (true, true) => "stereo=1;maxaveragebitrate=510000",
                    (true, false) => "",
                };
                let preferred = info.spec.codec.codec;
                let (cid, info) = (announced.cid, Arc::new(info));
                // The shard must know a track before a transport names it. What the room does not take
                // (any more) is answered like a section that nobody listens to.
                let key = match self.room.publish_draft(&info, Keyframes::OnRequest, None) {
                    Ok(key) => key,
                    Err(error) => {
                        self.tell(PeerEvent::PublishRefused { cid, info, error: error.into() });
                        return None;
                    }
                };
                let rids = layers_in_order(&remote.rids, &announced.rids);
                let (sid, codec) = (info.sid.clone(), preferred);
                published.push(Published { cid: cid.clone(), sid, key, codec, rids: rids.clone() });
                bound.push((cid, info, remote.mid.clone()));
                Some(Binding { key, rids, preferred, red_first, opus_extra })
            },
            |remote| {
                let at = waiting.iter().position(|wanted| {
                    wanted.kind() == remote.kind && codecs::choose_for(remote, &wanted.info.spec.codec).is_some()
                })?;
                Some(waiting.remove(at))
            },
        );
        ended.append(&mut replaced);
        for (stream, track) in refused {
            if let Some(at) = pending.iter().position(|pending| pending.cid == track || pending.cid == stream) {
                let Pending { cid, info, .. } = pending.remove(at);
                let codecs = codecs::publishable(policy, info.spec.kind).iter().map(|codec| codec.rtp_name());
                let error = PeerError::NoCommonCodec { room: codecs.collect::<Vec<_>>().join(", ") };
                self.tell(PeerEvent::PublishRefused { cid, info, error });
            }
        }
        let answer = publisher.write(&answers, "passive", self.endpoint.fingerprint(), &self.shard);
        let mid_to_track = if self.topology == Topology::Single { publisher.mid_to_track() } else { BTreeMap::new() };
        self.configure(&state.publisher);
        // What was asked for and is not in this offer is still on its way.
        let brought = |kind| {
            let new = offer.sections.iter().skip(sections_before);
            new.filter(|section| section.kind == kind && section.direction.receives()).count() as u32
        };
        let (audio, video) = state.asked;
        state.asked =
            (audio.saturating_sub(brought(SectionKind::Audio)), video.saturating_sub(brought(SectionKind::Video)));
        state.nudged = false;
        let ended: Vec<TrackSid> = {
            let gone = state.published.iter().filter(|track| ended.contains(&track.key)).map(|track| track.sid.clone());
            gone.collect()
        };
        state.published.retain(|track| !ended.contains(&track.sid));
        if self.topology == Topology::Single {
            self.refuse_undecodable(&mut state, &offer);
            self.ask_for_sections(&mut state);
        }
        drop(state);
        for sid in ended {
            self.room.unpublish(&sid);
        }
        for (cid, info, mid) in bound {
            self.tell(PeerEvent::TrackPublished { cid, info, mid });
        }
        Ok(SdpAnswer { sdp: answer, mid_to_track })
    }

    /// The client's own word about its own track.
    pub fn set_muted(&self, track: &TrackSid, muted: bool) -> Result<(), PeerError> {
        {
            let mut state = self.state.lock();
            if let Some(pending) = state.pending.iter_mut().find(|pending| pending.info.sid == *track) {
                let mut info = (*pending.info).clone();
                info.spec.muted = muted;
                pending.info = Arc::new(info);
                return Ok(());
            }
            if !state.published.iter().any(|published| published.sid == *track) {
                return Err(PeerError::NotFound);
            }
        }
        Ok(self.room.set_muted(track, muted)?)
    }

    /// The sid of a track this peer announced under `cid`, if it is still there.
    pub fn track_of(&self, cid: &str) -> Option<TrackSid> {
        let state = self.state.lock();
        let published = state.published.iter().find(|track| track.cid == cid).map(|track| track.sid.clone());
        published.or_else(|| state.pending.iter().find(|track| track.cid == cid).map(|track| track.info.sid.clone()))
    }

    pub fn unpublish(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        state.pending.retain(|pending| pending.info.sid != *track);
        let Some(at) = state.published.iter().position(|published| published.sid == *track) else { return };
        let key = state.published.remove(at).key;
        state.publisher.unbind(key);
        self.configure(&state.publisher);
        drop(state);
        self.room.unpublish(track);
    }
}

/// The offered stream names in the order in which the layers were announced; as offered where they
/// are not the announced ones.
fn layers_in_order(offered: &[String], announced: &[String]) -> Vec<String> {
    let place = |rid: &String| announced.iter().position(|known| known == rid);
    let mut rids = offered.to_vec();
    if rids.iter().all(|rid| place(rid).is_some()) {
        rids.sort_by_key(place);
    }
    rids
}

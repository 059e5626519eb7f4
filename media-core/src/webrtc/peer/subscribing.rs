//! What a client receives: the room's subscriptions, turned into sections of its connection.

use super::{Peer, PeerError, PeerEvent, State, Topology, TrackSettings};
use crate::ids::TrackSid;
use crate::media::Kind;
use crate::room::{LayerQuality, RoomError, Subscription, TrackSpec};
use crate::shard::Command;
use crate::webrtc::codecs::{self, forwardable};
use crate::webrtc::connection::{Wanted, kind_of};
use crate::webrtc::sdp::{RemoteDescription, SdpError, SectionKind};
use rand::Rng;

impl Peer {
    /// Takes the client's answer to our offer (Dual); `id` is the offer's, where the client says it.
    ///
    /// # Errors
    /// [`PeerError::WrongState`] when that offer is not (or no longer) one to be answered.
    pub fn subscriber_answer(&self, sdp: &str, id: Option<u32>) -> Result<(), PeerError> {
        let answer = RemoteDescription::parse(sdp)?;
        if answer.setup == "passive" {
            return Err(SdpError::Unsupported("the DTLS server role").into());
        }
        let mut state = self.state.lock();
        let Some(outstanding) = state.outstanding else {
            return Err(PeerError::WrongState("there is no offer to answer"));
        };
        let subscriber = state.subscriber.as_ref().ok_or(PeerError::WrongState("there is no subscriber connection"))?;
        if id.is_some_and(|id| id != outstanding) || answer.sections.len() != subscriber.sections.len() {
            return Err(PeerError::WrongState("the answer is to an earlier offer"));
        }
        state.outstanding = None;
        let subscriber = state.subscriber.as_mut().ok_or(PeerError::WrongState("there is no subscriber connection"))?;
        let refused = subscriber.take_answer(&answer);
        if let Some(subscriber) = &state.subscriber {
            self.configure(subscriber);
        }
        for wanted in &refused {
            state.subscriptions.retain(|other| other.sub != wanted.sub);
            self.room.unsubscribe(&self.sid, &wanted.info.sid);
            self.tell(PeerEvent::SubscriptionRefused { track: wanted.info.sid.clone() });
        }
        if state.dirty {
            state.dirty = false;
            self.schedule(&mut state);
        }
        Ok(())
    }

    /// Asks the room for a track and, if it may be had, negotiates a section for it.
    ///
    /// # Errors
    /// The room's, see [`crate::room::Room::subscribe`]; [`PeerError::CodecUnsupported`]; too many.
    pub fn subscribe(&self, track: &TrackSid) -> Result<(), PeerError> {
        let info = self.room.track(track).ok_or(RoomError::NoTrack)?;
        let codec = info.spec.codec.codec;
        if !info.spec.notice.is_empty() || !forwardable(codec) {
            return Err(PeerError::CodecUnsupported { codec: codec.mime() });
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(PeerError::Closed);
        }
        let Subscription { track: info, key, sub } = self.room.subscribe(&self.sid, track)?;
        if state.subscriptions.iter().any(|wanted| wanted.sub == sub) {
            return Ok(());
        }
        // One that the room ended while this was asked for is of no use any more.
        self.drop_section(&mut state, track);
        let waiting = state.subscriptions.iter().filter(|wanted| !state.carrier().sends(&wanted.info.sid));
        let waiting: Vec<SectionKind> = waiting.map(Wanted::kind).chain([kind_of(info.spec.kind)]).collect();
        if !state.carrier().has_place_for(&waiting) {
            self.room.unsubscribe(&self.sid, track);
            return Err(PeerError::TooMany("sections of the session"));
        }
        let mut rng = rand::rng();
        let (ssrc, rtx_ssrc) = (rng.random_range(1..u32::MAX), rng.random_range(1..u32::MAX));
        state.subscriptions.push(Wanted { info, key, sub, ssrc, rtx_ssrc });
        match self.topology {
            Topology::Dual => self.schedule(&mut state),
            Topology::Single => self.ask_for_sections(&mut state),
        }
        Ok(())
    }

    /// The client does not want a track any more.
    pub fn unsubscribe(&self, track: &TrackSid) {
        let mut state = self.state.lock();
        self.room.unsubscribe(&self.sid, track);
        self.drop_section(&mut state, track);
    }

    /// The room ended a subscription: its section is free.
    pub fn subscription_ended(&self, ended: &Subscription) {
        let mut state = self.state.lock();
        if state.subscriptions.iter().any(|wanted| wanted.sub == ended.sub) {
            self.drop_section(&mut state, &ended.track.sid);
        }
    }

    fn drop_section(&self, state: &mut State, track: &TrackSid) {
        let before = state.subscriptions.len();
        state.subscriptions.retain(|wanted| wanted.info.sid != *track);
        if before == state.subscriptions.len() || state.closed {
            return;
        }
        let State { publisher, subscriber, .. } = &mut *state;
        let connection = subscriber.as_mut().unwrap_or(publisher);
        if !connection.drop_sub(track) {
            return;
        }
        self.configure(connection);
        match self.topology {
            Topology::Dual => self.schedule(state),
            Topology::Single if !state.nudged => {
                state.nudged = true;
                self.tell(PeerEvent::SectionsWanted { audio: 0, video: 0 });
            }
            Topology::Single => {}
        }
    }

    /// How the client shows a track: decides the layer, or pauses it.
    pub fn adjust(&self, track: &TrackSid, settings: TrackSettings) {
        let state = self.state.lock();
        let Some(wanted) = state.subscriptions.iter().find(|wanted| wanted.info.sid == *track) else { return };
        // As the track is now: its publisher may have changed its layers.
        let info = self.room.track(track).unwrap_or_else(|| wanted.info.clone());
        let layer = layer_for(settings, &info.spec);
        self.shard.send(Command::Want { track: wanted.key, sub: wanted.sub, layer, paused: settings.disabled });
    }

    /// Single: gives up waiting subscriptions whose codec the client's sections do not name; asking
    /// for more sections would bring the same answer for ever.
    pub(super) fn refuse_undecodable(&self, state: &mut State, offer: &RemoteDescription) {
        let State { publisher, subscriptions, .. } = state;
        subscriptions.retain(|wanted| {
            let mut fitting = offer
                .sections
                .iter()
                .filter(|section| section.kind == wanted.kind() && !section.rejected && section.direction.receives())
                .peekable();
            let refused = !publisher.sends(&wanted.info.sid)
                && fitting.peek().is_some()
                && fitting.all(|section| codecs::choose_for(section, &wanted.info.spec.codec).is_none());
            if refused {
                self.room.unsubscribe(&self.sid, &wanted.info.sid);
                self.tell(PeerEvent::SubscriptionRefused { track: wanted.info.sid.clone() });
            }
            !refused
        });
    }

    /// Single: tells the client how many more sections the waiting subscriptions need.
    pub(super) fn ask_for_sections(&self, state: &mut State) {
        let mut missing = [0u32; 2];
        let mut waiting = false;
        for wanted in &state.subscriptions {
            if state.publisher.sends(&wanted.info.sid) {
                continue;
            }
            waiting = true;
            let slot = usize::from(wanted.kind() == SectionKind::Video);
            if let Some(count) = missing.get_mut(slot) {
                *count += 1;
            }
        }
        if !waiting {
            return;
        }
        let free = |kind| state.publisher.free(kind_of(kind)) as u32;
        let audio = missing[0].saturating_sub(free(Kind::Audio)).saturating_sub(state.asked.0);
        let video = missing[1].saturating_sub(free(Kind::Video)).saturating_sub(state.asked.1);
        let comes = state.asked != (0, 0);
        if audio + video > 0 || !(state.nudged || comes) {
            state.asked = (state.asked.0 + audio, state.asked.1 + video);
            state.nudged = true;
            self.tell(PeerEvent::SectionsWanted { audio, video });
        }
    }
}

/// The layer a tile of this size has use for: the smallest that covers it.
fn layer_for(settings: TrackSettings, spec: &TrackSpec) -> u8 {
    let count = spec.layers.len().clamp(1, 3);
    if let Some(quality) = settings.quality.filter(|_| settings.width == 0) {
        return match quality {
            LayerQuality::Low => 0,
            LayerQuality::Medium => (count - 1).min(1) as u8,
            LayerQuality::High => 2,
        };
    }
    if settings.width == 0 || settings.height == 0 {
        return 2;
    }
    spec.layer_that_covers(settings.width, settings.height)
}

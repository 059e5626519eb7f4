//! One negotiated connection: the sections agreed so far, and what the shard is
//! told of them. The sections' order is the session's and never changes.

use super::codecs::{self, Choice};
use super::sdp::{
    Direction, LocalSection, LocalStream, LocalTransport, MAX_SECTIONS, RemoteDescription, RemoteSection, SectionKind,
    write,
};
use crate::ids::TrackSid;
use crate::media::{Codec, Kind};
use crate::room::{CodecPolicy, TrackInfo};
use crate::rtp::ext;
use crate::session::ice::IceCredentials;
use crate::shard::{
    ExtensionIds, PeerConfig, ReceiveSection, SendSection, ShardHandle, SubKey, TrackKey, TransportConfig, TransportKey,
};
use rand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A subscription as negotiation sees it.
#[derive(Clone)]
pub(super) struct Wanted {
    pub info: Arc<TrackInfo>,
    pub key: TrackKey,
    pub sub: SubKey,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

impl Wanted {
    pub fn kind(&self) -> SectionKind {
        kind_of(self.info.spec.kind)
    }

    /// `reused`: the section has carried another track.
    fn stream(&self, rtx: bool, reused: bool) -> LocalStream {
        // Tracks of one stream name are played in step by clients that group by it. In a section
        // that is used again browsers go on with the receiver's first track id (W3C WebRTC 5.4), and
        // clients take the sid from the stream's name.
        let stream = &self.info.spec.stream;
        let label = if reused || stream.is_empty() { self.info.sid.as_str() } else { stream };
        LocalStream {
            ssrc: self.ssrc,
            rtx: rtx.then_some(self.rtx_ssrc),
            stream: format!("{}|{label}", self.info.participant),
            track: self.info.sid.to_string(),
        }
    }
}

pub(super) fn kind_of(kind: Kind) -> SectionKind {
    match kind {
        Kind::Audio => SectionKind::Audio,
        Kind::Video => SectionKind::Video,
    }
}

/// What a section is used for at the moment.
#[derive(Clone)]
pub(super) enum Use {
    Data,
    /// Nobody's; `cooling` until one description has said so, because a browser
    /// announces a new track only when its section turns from inactive.
    Free {
        cooling: bool,
    },
    /// The peer sends a track of this description id.
    Receive {
        track: Option<TrackKey>,
        choice: Arc<Choice>,
        /// Simulcast stream names, lowest layer first.
        rids: Vec<String>,
    },
    /// We send.
    Send(Wanted),
}

pub(super) struct Section {
    pub kind: SectionKind,
    pub mid: String,
    pub usage: Use,
    pub rejected: bool,
    /// As last offered by the peer.
    pub offered: Option<RemoteSection>,
    /// The first track that we sent here.
    carried: Option<TrackSid>,
    /// Payload types that the peer agreed to for what we send.
    send_pts: Option<(u8, Option<u8>, Option<u8>)>,
}

/// What came of a peer's offer.
#[derive(Default)]
pub(super) struct Taken {
    pub answers: Vec<LocalSection>,
    /// Tracks that the peer has stopped sending.
    pub ended: Vec<TrackKey>,
    /// Stream and track id of sections that offer to send no codec the room takes.
    pub refused: Vec<(String, String)>,
}

/// What binds an offered sending section to a track that was announced.
pub(super) struct Binding {
    pub key: TrackKey,
    /// Simulcast stream names, lowest layer first.
    pub rids: Vec<String>,
    pub preferred: Codec,
    pub red_first: bool,
    pub opus_extra: &'static str,
}

pub(super) struct Connection {
    pub transport: TransportKey,
    pub local_ice: IceCredentials,
    pub remote_ufrag: String,
    pub fingerprint: String,
    pub extensions: ExtensionIds,
    pub sections: Vec<Section>,
    session_id: u64,
    version: u64,
}

impl Connection {
    pub fn new(transport: TransportKey, local_ice: IceCredentials) -> Self {
        Self {
            transport,
            local_ice,
            remote_ufrag: String::new(),
            fingerprint: String::new(),
            extensions: ExtensionIds::default(),
            sections: Vec::new(),
            session_id: rand::rng().random_range(1..i64::MAX as u64),
            version: 1,
        }
    }

    /// Takes a peer's offer. `bind` finds the track of a section in which the
    /// peer sends; `next` gives a waiting subscription of a kind.
    pub fn take_offer(
        &mut self,
        offer: &RemoteDescription,
        policy: CodecPolicy,
        mut bind: impl FnMut(&RemoteSection, &Choice) -> Option<Binding>,
        mut next: impl FnMut(&RemoteSection) -> Option<Wanted>,
    ) -> Taken {
        if self.remote_ufrag != offer.ufrag {
            if !self.remote_ufrag.is_empty() {
                self.local_ice = IceCredentials::random();
            }
            self.remote_ufrag = offer.ufrag.clone();
        }
        self.fingerprint = offer.fingerprint.clone();
        self.extensions = offer.extension_ids();
        let mut taken = Taken::default();
        for (index, remote) in offer.sections.iter().enumerate() {
            if self.sections.len() <= index {
                self.sections.push(Section {
                    kind: remote.kind,
                    mid: remote.mid.clone(),
                    usage: Use::Free { cooling: false },
                    rejected: false,
                    offered: None,
                    send_pts: None,
                    carried: None,
                });
            }
            let Some(section) = self.sections.get_mut(index) else { continue };
            if section.mid != remote.mid || section.kind != remote.kind {
                // A recycled section (RFC 8829 5.2.2): whatever it was, it is over.
                if let Use::Receive { track: Some(track), .. } = &section.usage {
                    taken.ended.push(*track);
                }
                *section = Section {
                    kind: remote.kind,
                    mid: remote.mid.clone(),
                    usage: Use::Free { cooling: false },
                    rejected: false,
                    offered: None,
                    send_pts: None,
                    carried: None,
                };
            }
            section.rejected = remote.rejected;
            section.offered = Some(remote.clone());
            let answer = section.answer(remote, policy, &mut bind, &mut next, &mut taken);
            taken.answers.push(answer);
        }
        taken
    }

    /// An offer of ours: frees cooled sections, places waiting subscriptions.
    pub fn make_offer(&mut self, mut waiting: Vec<Wanted>) -> Vec<LocalSection> {
        if self.sections.is_empty() {
            self.sections.push(Section {
                kind: SectionKind::Application,
                mid: "0".into(),
                usage: Use::Data,
                rejected: false,
                offered: None,
                send_pts: None,
                carried: None,
            });
        }
        for section in &mut self.sections {
            if matches!(section.usage, Use::Free { cooling: false })
                && let Some(at) = waiting.iter().position(|wanted| wanted.kind() == section.kind)
            {
                section.usage = Use::Send(waiting.remove(at));
                section.send_pts = None;
            }
        }
        for wanted in waiting {
            let mid = self.sections.len().to_string();
            self.sections.push(Section {
                kind: wanted.kind(),
                mid,
                usage: Use::Send(wanted),
                rejected: false,
                offered: None,
                send_pts: None,
                carried: None,
            });
        }
        self.sections.iter_mut().map(Section::offer).collect()
    }

    /// Takes the answer to our offer. Returns subscriptions the peer can't take.
    pub fn take_answer(&mut self, answer: &RemoteDescription) -> Vec<Wanted> {
        self.remote_ufrag = answer.ufrag.clone();
        self.fingerprint = answer.fingerprint.clone();
        self.extensions = answer.extension_ids();
        let mut refused = Vec::new();
        for (section, remote) in self.sections.iter_mut().zip(&answer.sections) {
            let Use::Send(wanted) = &section.usage else { continue };
            let taken = (!remote.rejected && remote.direction.receives())
                .then(|| codecs::choose_for(remote, &wanted.info.spec.codec))
                .flatten();
            match taken {
                Some(choice) => section.send_pts = Some((choice.codec.pt, choice.rtx, choice.red)),
                None => {
                    refused.push(wanted.clone());
                    section.usage = Use::Free { cooling: false };
                }
            }
        }
        refused
    }

    /// The track of a receiving section is gone; what the peer still sends there is dropped.
    pub fn unbind(&mut self, key: TrackKey) {
        for section in &mut self.sections {
            if let Use::Receive { track, .. } = &mut section.usage
                && *track == Some(key)
            {
                *track = None;
            }
        }
    }

    /// Ends sending of a track; its section cools until the next description.
    pub fn drop_sub(&mut self, track: &TrackSid) -> bool {
        let mut found = false;
        for section in &mut self.sections {
            if matches!(&section.usage, Use::Send(wanted) if wanted.info.sid == *track) {
                section.usage = Use::Free { cooling: true };
                section.send_pts = None;
                found = true;
            }
        }
        found
    }

    pub fn sends(&self, track: &TrackSid) -> bool {
        self.sections.iter().any(|section| matches!(&section.usage, Use::Send(wanted) if wanted.info.sid == *track))
    }

    /// Whether sections of these kinds all find a place: sections are used again, and never become
    /// fewer.
    pub fn has_place_for(&self, waiting: &[SectionKind]) -> bool {
        let new = [SectionKind::Audio, SectionKind::Video].into_iter().map(|kind| {
            let free = |section: &&Section| section.kind == kind && matches!(section.usage, Use::Free { .. });
            let needed = waiting.iter().filter(|wanted| **wanted == kind).count();
            needed.saturating_sub(self.sections.iter().filter(free).count())
        });
        self.sections.len() + new.sum::<usize>() <= MAX_SECTIONS
    }

    /// Sections of a kind that a new subscription could take in the next answer.
    pub fn free(&self, kind: SectionKind) -> usize {
        self.sections
            .iter()
            .filter(|section| section.kind == kind && !section.rejected)
            .filter(|section| section.offered.as_ref().is_some_and(|offered| offered.direction == Direction::RecvOnly))
            .filter(|section| matches!(section.usage, Use::Free { cooling: false }))
            .count()
    }

    pub fn mid_to_track(&self) -> BTreeMap<String, String> {
        self.sections
            .iter()
            .filter_map(|section| match &section.usage {
                Use::Send(wanted) => Some((section.mid.clone(), wanted.info.sid.to_string())),
                _ => None,
            })
            .collect()
    }

    /// Text of a description of ours.
    pub fn write(&mut self, sections: &[LocalSection], setup: &str, fingerprint: &str, shard: &ShardHandle) -> String {
        self.version += 1;
        let transport = LocalTransport {
            ufrag: &self.local_ice.ufrag,
            password: &self.local_ice.password,
            fingerprint,
            setup,
            candidates: shard.candidates(),
            session_id: self.session_id,
            version: self.version,
        };
        write(&transport, sections)
    }

    /// What the shard has to know now.
    pub fn config(&self) -> TransportConfig {
        let mut receive = Vec::new();
        let mut send = Vec::new();
        for section in self.sections.iter().filter(|section| !section.rejected) {
            match &section.usage {
                Use::Data | Use::Free { .. } => {}
                Use::Receive { track, choice, rids } => {
                    let Some(offered) = &section.offered else { continue };
                    receive.push(ReceiveSection {
                        mid: section.mid.clone(),
                        kind: if section.kind == SectionKind::Audio { Kind::Audio } else { Kind::Video },
                        track: *track,
                        payloads: choice.payloads(),
                        rids: rids.clone(),
                        ssrcs: offered.ssrcs.clone(),
                        nack: choice.codec.feedback.iter().any(|feedback| feedback == "nack"),
                        pli: true,
                    });
                }
                Use::Send(wanted) => {
                    let Some((pt, rtx_pt, red_pt)) = section.send_pts else { continue };
                    send.push(SendSection {
                        mid: section.mid.clone(),
                        track: wanted.key,
                        sub: wanted.sub,
                        ssrc: wanted.ssrc,
                        rtx_ssrc: wanted.rtx_ssrc,
                        pt,
                        rtx_pt,
                        red_pt,
                    });
                }
            }
        }
        TransportConfig {
            peer: PeerConfig::WebRtc { local_ice: self.local_ice.clone(), fingerprint: self.fingerprint.clone() },
            extensions: self.extensions,
            receive,
            send,
        }
    }
}

impl Section {
    fn blank(&self, direction: Direction) -> LocalSection {
        LocalSection {
            kind: self.kind,
            mid: self.mid.clone(),
            rejected: self.rejected,
            direction,
            codecs: Vec::new(),
            extensions: Vec::new(),
            stream: None,
            simulcast: Vec::new(),
            formats: Vec::new(),
        }
    }

    fn answer(
        &mut self,
        remote: &RemoteSection,
        policy: CodecPolicy,
        bind: &mut impl FnMut(&RemoteSection, &Choice) -> Option<Binding>,
        next: &mut impl FnMut(&RemoteSection) -> Option<Wanted>,
        taken: &mut Taken,
    ) -> LocalSection {
        let mut answer = self.blank(Direction::Inactive);
        answer.formats = remote.codecs.iter().map(|codec| codec.pt).collect();
        // The same in every section, in use or not: browsers offer in a new section of the
        // bundle only what the others have agreed to.
        answer.extensions = ours(remote);
        if remote.kind == SectionKind::Application {
            self.usage = Use::Data;
            return answer;
        }
        let kind = if remote.kind == SectionKind::Audio { Kind::Audio } else { Kind::Video };
        if !remote.rejected && remote.direction.sends() {
            let allowed = codecs::publishable(policy, kind);
            if let Some(choice) = codecs::choose(remote, allowed) {
                let bound = bind(remote, &choice);
                let preferred = bound.as_ref().map(|binding| binding.preferred).filter(|codec| allowed.contains(codec));
                let choice = preferred.and_then(|codec| codecs::choose(remote, &[codec])).unwrap_or(choice);
                let (red_first, extra) =
                    bound.as_ref().map_or((false, ""), |binding| (binding.red_first, binding.opus_extra));
                answer.direction = Direction::RecvOnly;
                answer.codecs = choice.answer(red_first, extra);
                answer.simulcast = remote.simulcast.clone();
                let (track, rids) = bound.map_or((None, Vec::new()), |binding| (Some(binding.key), binding.rids));
                self.usage = Use::Receive { track, choice: Arc::new(choice), rids };
                return answer;
            }
            // Nothing in common: the section stands but carries nothing, and whoever published is told.
            if let Use::Receive { track, .. } = &self.usage {
                taken.ended.extend(*track);
            }
            self.usage = Use::Free { cooling: false };
            answer.codecs = echo(remote);
            taken.refused.extend(remote.msid.clone());
            return answer;
        }
        if let Use::Receive { track, .. } = &self.usage {
            taken.ended.extend(*track);
            self.usage = Use::Free { cooling: false };
        }
        if remote.rejected || !remote.direction.receives() {
            self.usage = Use::Free { cooling: false };
            answer.codecs = if remote.rejected { Vec::new() } else { echo(remote) };
            return answer;
        }
        match &self.usage {
            Use::Free { cooling: true } => self.usage = Use::Free { cooling: false },
            Use::Free { cooling: false } => {
                if let Some(wanted) = next(remote) {
                    self.usage = Use::Send(wanted);
                }
            }
            _ => {}
        }
        if let Use::Send(wanted) = &self.usage
            && let Some(choice) = codecs::choose_for(remote, &wanted.info.spec.codec)
        {
            self.send_pts = Some((choice.codec.pt, choice.rtx, choice.red));
            answer.direction = Direction::SendOnly;
            answer.codecs = choice.answer(false, "");
            let first = self.carried.get_or_insert_with(|| wanted.info.sid.clone());
            answer.stream = Some(wanted.stream(choice.rtx.is_some(), *first != wanted.info.sid));
            return answer;
        }
        answer.codecs = echo(remote);
        answer
    }

    fn offer(&mut self) -> LocalSection {
        match &mut self.usage {
            Use::Send(wanted) => {
                let wanted = wanted.clone();
                let mut offer = self.blank(Direction::SendOnly);
                offer.codecs = codecs::offer(&wanted.info.spec.codec);
                let rtx = offer.codecs.iter().any(|codec| codec.map.starts_with("rtx/"));
                let first = self.carried.get_or_insert_with(|| wanted.info.sid.clone());
                offer.stream = Some(wanted.stream(rtx, *first != wanted.info.sid));
                offer.extensions = vec![(1, ext::MID)];
                if self.kind == SectionKind::Audio {
                    offer.extensions.push((2, ext::AUDIO_LEVEL));
                }
                offer
            }
            Use::Free { cooling } => {
                *cooling = false;
                let mut offer = self.blank(Direction::Inactive);
                let params = match self.kind {
                    SectionKind::Audio => crate::media::CodecParams::opus(),
                    _ => crate::media::CodecParams::h264(),
                };
                offer.codecs = codecs::offer(&params);
                offer.extensions = vec![(1, ext::MID)];
                offer
            }
            _ => self.blank(Direction::Inactive),
        }
    }
}

/// An inactive answer still has to name codecs of the offer.
fn echo(remote: &RemoteSection) -> Vec<super::sdp::LocalCodec> {
    let wanted: &[Codec] = match remote.kind {
        SectionKind::Audio => &[Codec::Opus, Codec::Pcma, Codec::Pcmu, Codec::G722],
        _ => &[Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265],
    };
    codecs::choose(remote, wanted).map(|choice| choice.answer(false, "")).unwrap_or_default()
}

/// The offered header extensions that we take.
fn ours(remote: &RemoteSection) -> Vec<(u8, &'static str)> {
    const KNOWN: [&str; 5] = [ext::AUDIO_LEVEL, ext::MID, ext::REPAIRED_RID, ext::RID, ext::TRANSPORT_CC];
    let known = |uri: &str| KNOWN.into_iter().find(|known| *known == uri);
    remote.extensions.iter().filter_map(|(id, uri)| Some((*id, known(uri)?))).collect()
}

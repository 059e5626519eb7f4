//! A client's side of negotiation, as far as descriptions go: what it sends, what it receives, and
//! that both sides believe the same of each section.

use crate::media::Codec;
use crate::webrtc::sdp::{Direction, RemoteDescription, SectionKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a section is to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Data,
    /// It sends the track of this name.
    Sends {
        cid: String,
        codecs: Vec<Codec>,
    },
    Receives,
    Idle,
}

struct Section {
    kind: SectionKind,
    part: Part,
}

/// One of its connections.
struct Line {
    sections: Vec<Section>,
    version: u32,
}

pub(super) struct Browser {
    /// What it can decode.
    pub decodes: Vec<Codec>,
    publisher: Line,
    /// Tracks (by sid, as their description names them) that it receives now.
    pub receives: BTreeSet<String>,
    /// Most sections that a description of the subscriber connection had.
    pub most_sections: usize,
}

impl Browser {
    pub fn new(decodes: Vec<Codec>, opens_data: bool) -> Self {
        let data = Section { kind: SectionKind::Application, part: Part::Data };
        let sections = if opens_data { vec![data] } else { Vec::new() };
        let publisher = Line { sections, version: 1 };
        Self { decodes, publisher, receives: BTreeSet::new(), most_sections: 0 }
    }

    pub fn sends(&self) -> Vec<String> {
        let cids = self.publisher.sections.iter().filter_map(|section| match &section.part {
            Part::Sends { cid, .. } => Some(cid.clone()),
            _ => None,
        });
        cids.collect()
    }

    /// Sections in which it sends, or has sent.
    pub fn sending_sections(&self) -> usize {
        self.publisher.sections.iter().filter(|section| matches!(section.part, Part::Sends { .. } | Part::Idle)).count()
    }

    /// Takes a place for a track to send: one that it has used before, or a new one.
    pub fn send(&mut self, cid: &str, codecs: &[Codec], again: bool) {
        let kind = if codecs.contains(&Codec::Opus) { SectionKind::Audio } else { SectionKind::Video };
        let part = Part::Sends { cid: cid.to_owned(), codecs: codecs.to_vec() };
        let mut idle = self.publisher.sections.iter_mut().filter(|it| it.kind == kind && it.part == Part::Idle);
        match idle.next().filter(|_| again) {
            Some(section) => section.part = part,
            None => self.publisher.sections.push(Section { kind, part }),
        }
    }

    pub fn stop_sending(&mut self, cid: &str) {
        for section in &mut self.publisher.sections {
            if matches!(&section.part, Part::Sends { cid: sent, .. } if sent == cid) {
                section.part = Part::Idle;
            }
        }
    }

    /// More places to receive in, on a single connection.
    pub fn make_places(&mut self, audio: u32, video: u32) {
        for (kind, count) in [(SectionKind::Audio, audio), (SectionKind::Video, video)] {
            for _ in 0..count {
                self.publisher.sections.push(Section { kind, part: Part::Receives });
            }
        }
    }

    /// Its offer.
    pub fn offer(&mut self) -> String {
        self.publisher.version += 1;
        let mut text = head("actpass", self.publisher.version, self.publisher.sections.len());
        for (mid, section) in self.publisher.sections.iter().enumerate() {
            let (direction, codecs, msid) = match &section.part {
                Part::Data => (Direction::SendRecv, Vec::new(), None),
                Part::Sends { cid, codecs } => (Direction::SendOnly, codecs.clone(), Some(cid.as_str())),
                Part::Receives => (Direction::RecvOnly, self.decodes.clone(), None),
                Part::Idle => (Direction::Inactive, self.decodes.clone(), None),
            };
            let codecs: Vec<Codec> = codecs.into_iter().filter(|codec| kind_of(*codec) == section.kind).collect();
            write_section(&mut text, section.kind, &mid.to_string(), 9, direction, &numbered(&codecs), msid);
        }
        text
    }

    /// Reads the answer to its offer: what it will receive on the same connection.
    pub fn take_answer(&mut self, sdp: &str, single: bool) {
        let answer = RemoteDescription::parse(sdp).unwrap();
        assert_eq!(answer.sections.len(), self.publisher.sections.len());
        for (ours, theirs) in self.publisher.sections.iter().zip(&answer.sections) {
            let right = match ours.part {
                Part::Data => true,
                Part::Sends { .. } => !theirs.direction.sends(),
                Part::Receives => !theirs.direction.receives(),
                Part::Idle => theirs.direction == Direction::Inactive,
            };
            assert!(right, "{:?} was answered with {:?}", ours.part, theirs.direction);
        }
        if single {
            self.most_sections = self.most_sections.max(answer.sections.len());
            self.receives = received(&answer);
        }
    }

    /// Answers the server's offer.
    pub fn answer(&mut self, sdp: &str, mid_to_track: &BTreeMap<String, String>) -> String {
        let offer = RemoteDescription::parse(sdp).unwrap();
        self.most_sections = self.most_sections.max(offer.sections.len());
        let mut text = head("active", 1, offer.sections.len());
        self.receives.clear();
        for section in &offer.sections {
            let mut direction = Direction::Inactive;
            let known = |codec: Option<Codec>| codec.is_some_and(|codec| self.decodes.contains(&codec));
            let mut codecs: Vec<(u8, String, String)> = Vec::new();
            for codec in section.codecs.iter().filter(|codec| known(codec.codec())) {
                let map = format!("{}/{}{}", codec.name, codec.clock_rate, if codec.channels > 1 { "/2" } else { "" });
                codecs.push((codec.pt, map, codec.fmtp.clone()));
            }
            // A section in which it could decode nothing is refused, as browsers do.
            let refused = section.kind != SectionKind::Application && codecs.is_empty();
            if refused {
                codecs = section.codecs.iter().map(|it| (it.pt, format!("{}/90000", it.name), String::new())).collect();
            }
            if section.kind != SectionKind::Application && section.direction.sends() {
                let (_, track) = section.msid.clone().unwrap();
                assert_eq!(mid_to_track.get(&section.mid), Some(&track));
                if !refused {
                    direction = Direction::RecvOnly;
                    assert!(self.receives.insert(track), "a track in two sections");
                }
            }
            let port = if refused { 0 } else { 9 };
            write_section(&mut text, section.kind, &section.mid, port, direction, &codecs, None);
        }
        text
    }
}

/// The tracks of the sections in which a description sends.
fn received(description: &RemoteDescription) -> BTreeSet<String> {
    let sending = description
        .sections
        .iter()
        .filter(|section| section.kind != SectionKind::Application && section.direction.sends());
    sending.filter_map(|section| section.msid.clone()).map(|(_, track)| track).collect()
}

fn kind_of(codec: Codec) -> SectionKind {
    crate::webrtc::connection::kind_of(codec.kind())
}

/// Payload types as browsers number them.
fn numbered(codecs: &[Codec]) -> Vec<(u8, String, String)> {
    let known = |codec: &Codec| match codec {
        Codec::Opus => (111, "opus/48000/2", "minptime=10;useinbandfec=1"),
        Codec::Vp8 => (96, "VP8/90000", ""),
        Codec::H264 => (102, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        other => panic!("{other:?} is not of this test"),
    };
    codecs.iter().map(known).map(|(pt, map, fmtp)| (pt, map.to_owned(), fmtp.to_owned())).collect()
}

fn head(setup: &str, version: u32, sections: usize) -> String {
    let mids: Vec<String> = (0..sections).map(|mid| mid.to_string()).collect();
    let fingerprint = ["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 7 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         a=ice-ufrag:chrn\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=fingerprint:sha-256 {fingerprint}\r\n\
         a=setup:{setup}\r\n",
        mids.join(" ")
    )
}

fn write_section(
    text: &mut String,
    kind: SectionKind,
    mid: &str,
    port: u16,
    direction: Direction,
    codecs: &[(u8, String, String)],
    msid: Option<&str>,
) {
    if kind == SectionKind::Application {
        let _ = write!(
            text,
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sctp-port:5000\r\n"
        );
        return;
    }
    let name = if kind == SectionKind::Audio { "audio" } else { "video" };
    let formats: Vec<String> = codecs.iter().map(|(pt, ..)| pt.to_string()).collect();
    let direction = match direction {
        Direction::Inactive => "inactive",
        Direction::RecvOnly => "recvonly",
        Direction::SendOnly => "sendonly",
        Direction::SendRecv => "sendrecv",
    };
    let _ = write!(
        text,
        "m={name} {port} UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=rtcp-mux\r\na={direction}\r\n",
        formats.join(" ")
    );
    for (pt, map, fmtp) in codecs {
        let _ = write!(text, "a=rtpmap:{pt} {map}\r\na=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\n");
        if !fmtp.is_empty() {
            let _ = write!(text, "a=fmtp:{pt} {fmtp}\r\n");
        }
    }
    if let Some(cid) = msid {
        let _ = write!(text, "a=msid:stream {cid}\r\n");
    }
}

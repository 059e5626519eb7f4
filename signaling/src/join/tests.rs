use super::*;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use livekit_protocol as proto;
use proptest::prelude::*;
use prost::Message;
use rongtong_media_core::webrtc::Topology;
use std::io::Write;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn wrapped(compression: i32, join_request: Vec<u8>) -> String {
    URL_SAFE.encode(proto::WrappedJoinRequest { compression, join_request }.encode_to_vec())
}

fn sample() -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js as i32,
            version: "2.23.0".into(),
            protocol: 16,
            client_protocol: 1,
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
        publisher_offer: Some(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: "v=0\r\n".repeat(200),
            id: 1,
            ..Default::default()
        }),
        participant_sid: "PA_x".into(),
        ..Default::default()
    }
}

fn query(text: &str) -> RtcQuery {
    let uri: axum::http::Uri = format!("/rtc?{text}").parse().unwrap();
    axum::extract::Query::<RtcQuery>::try_from_uri(&uri).unwrap().0
}

#[test]
fn plain_and_gzipped_requests_are_read_with_and_without_padding() {
    let request = sample();
    let plain = request.encode_to_vec();
    assert_eq!(decode_join_request(&wrapped(0, plain.clone())), Ok(request.clone()));
    assert_eq!(decode_join_request(&wrapped(1, gzip(&plain))), Ok(request.clone()));
    assert_eq!(decode_join_request(&encode_join_request(&request)), Ok(request.clone()));
    let bytes = proto::WrappedJoinRequest { compression: 1, join_request: gzip(&plain) }.encode_to_vec();
    assert_eq!(decode_join_request(&URL_SAFE_NO_PAD.encode(bytes)), Ok(request));
}

#[test]
fn a_bomb_is_stopped_at_its_first_mebibyte() {
    let bomb = gzip(&vec![0; 40 << 20]);
    assert!(bomb.len() < MAX_ENCODED / 4 * 3, "it would be refused for its size already");
    assert_eq!(decode_join_request(&wrapped(1, bomb)), Err(JoinError::TooLarge));
}

#[test]
fn each_fault_has_its_own_answer() {
    assert_eq!(decode_join_request(""), Err(JoinError::Missing));
    assert_eq!(decode_join_request(&"A".repeat(MAX_ENCODED + 1)), Err(JoinError::TooLarge));
    assert_eq!(decode_join_request("!!!"), Err(JoinError::BadBase64));
    assert_eq!(decode_join_request(&URL_SAFE.encode([0xff; 9])), Err(JoinError::BadMessage));
    assert_eq!(decode_join_request(&wrapped(7, Vec::new())), Err(JoinError::UnknownCompression));
    assert_eq!(decode_join_request(&wrapped(1, vec![1, 2, 3])), Err(JoinError::BadGzip));
    assert_eq!(decode_join_request(&wrapped(0, vec![0xff; 9])), Err(JoinError::BadMessage));
    let mut cut = gzip(&sample().encode_to_vec());
    cut.truncate(cut.len() / 2);
    assert_eq!(decode_join_request(&wrapped(1, cut)), Err(JoinError::BadGzip));
}

#[test]
fn the_old_query_is_read_as_clients_write_it() {
    let params = query("access_token=t&auto_subscribe=1&sdk=js&version=2.16.0&protocol=16&adaptive_stream=1");
    let params = params.params(false).unwrap();
    assert_eq!((params.topology, params.auto_subscribe, params.protocol), (Topology::Dual, true, 16));
    assert_eq!((params.client.as_str(), params.resume), ("js 2.16.0", None));

    let params = query("reconnect=1&sid=PA_abc&auto_subscribe=0").params(false).unwrap();
    assert_eq!(params.resume, Some(Resume { sid: Some("PA_abc".into()) }));
    assert!(!params.auto_subscribe);

    let attributes = URL_SAFE.encode(br#"{"unit":"fire"}"#);
    let params = query(&format!("attributes={attributes}")).params(false).unwrap();
    assert_eq!(params.attributes.get("unit").map(String::as_str), Some("fire"));
    assert_eq!(query("attributes=x").params(false).err(), Some(JoinError::BadAttributes));
}

#[test]
fn the_new_query_must_have_a_join_request() {
    assert_eq!(query("access_token=t").params(true).err(), Some(JoinError::Missing));
    let params = query(&format!("join_request={}", encode_join_request(&sample()))).params(true).unwrap();
    assert_eq!((params.topology, params.auto_subscribe, params.resume), (Topology::Single, true, None));
    assert!(params.publisher_offer.is_some());
    let again = proto::JoinRequest { reconnect: true, ..sample() };
    let params = query(&format!("join_request={}", encode_join_request(&again))).params(true).unwrap();
    assert_eq!(params.resume, Some(Resume { sid: Some("PA_x".into()) }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,300}|[A-Za-z0-9_=-]{0,300}") {
        let _ = decode_join_request(&text);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), compression in -1i32..3) {
        let _ = decode_join_request(&wrapped(compression, bytes.clone()));
        let _ = decode_join_request(&URL_SAFE.encode(bytes));
    }

    #[test]
    fn a_request_cut_short_or_with_flipped_bits_is_decoded_or_refused(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        zipped in any::<bool>(),
    ) {
        let plain = sample().encode_to_vec();
        let mut bytes = if zipped { gzip(&plain) } else { plain };
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = decode_join_request(&wrapped(i32::from(zipped), bytes));
    }

    #[test]
    fn lengths_that_lie_are_refused(length in 100u64..u64::MAX) {
        // Field 2 (bytes) that claims far more than follows.
        let mut bytes = vec![0x12];
        prost::encoding::encode_varint(length, &mut bytes);
        bytes.extend_from_slice(&[0; 16]);
        prop_assert_eq!(decode_join_request(&URL_SAFE.encode(bytes)), Err(JoinError::BadMessage));
    }
}

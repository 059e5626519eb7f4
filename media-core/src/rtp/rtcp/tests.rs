use proptest::collection::vec;
use proptest::prelude::*;
use smallvec::smallvec;

use super::*;

fn one(bytes: &[u8]) -> Rtcp {
    let mut packets = parse_compound(bytes).unwrap();
    assert_eq!(packets.len(), 1);
    packets.remove(0)
}

#[test]
fn a_compound_of_sender_report_and_description_is_read() {
    let bytes = [
        0x80, 200, 0, 6, 0, 0, 0, 7, 0xe0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 5, 0, 0, 1, 0, // SR
        0x81, 202, 0, 3, 0, 0, 0, 7, 1, 3, b'a', b'b', b'c', 0, 0, 0, // SDES
    ];
    let packets = parse_compound(&bytes).unwrap();
    let report = SenderReport {
        ssrc: 7,
        ntp: 0xe000_0001_8000_0000,
        rtp_time: 0x1000,
        packets: 5,
        octets: 256,
        reports: smallvec![],
    };
    assert_eq!(report.middle_ntp(), 0x0001_8000);
    assert_eq!(packets[0], Rtcp::SenderReport(report));
    assert_eq!(packets[1], Rtcp::Sdes { chunks: smallvec![SdesChunk { ssrc: 7, cname: Some("abc".into()) }] });
}

#[test]
fn a_nack_is_a_number_and_a_mask() {
    let bytes = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0x80, 0x01];
    assert_eq!(one(&bytes), Rtcp::Nack { sender: 1, media: 2, lost: smallvec![65535, 0, 15] });
    let mut out = Vec::new();
    write_nack(&mut out, 1, 2, &[65535, 0, 15]);
    assert_eq!(out, bytes);
}

#[test]
fn loss_below_zero_keeps_its_sign() {
    let block = ReportBlock { ssrc: 1, cumulative_lost: -3, ..ReportBlock::default() };
    let mut out = Vec::new();
    write_receiver_report(&mut out, 9, &[block]);
    assert_eq!(out[12..16], [0, 0xff, 0xff, 0xfd]);
    assert_eq!(one(&out), Rtcp::ReceiverReport { ssrc: 9, reports: smallvec![block] });
}

#[test]
fn remb_is_a_mantissa_and_an_exponent() {
    // From draft-alvestrand-rmcat-remb: exponent 2, mantissa 0x3ffff.
    let bytes = [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0b, 0xff, 0xff, 0, 0, 0, 2];
    assert_eq!(one(&bytes), Rtcp::Remb { sender: 1, bitrate_bps: 0x3ffff << 2, ssrcs: smallvec![2] });
    let huge = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff];
    assert!(matches!(one(&huge), Rtcp::Remb { bitrate_bps: u64::MAX, .. }));
}

#[test]
fn transport_feedback_of_mixed_chunks_is_read() {
    // Base 10, 5 packets, reference −1, count 3: run of 2 small, then small lost large as two-bit.
    let bytes = [
        0xaf, 205, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 5, 0xff, 0xff, 0xff, 3, //
        0x20, 0x02, 0xd2, 0x00, 4, 8, 12, 0xff, 0xfc, 0, 0, 3,
    ];
    let Rtcp::Twcc(twcc) = one(&bytes) else { panic!("not transport feedback") };
    assert_eq!((twcc.base_seq, twcc.reference_time, twcc.feedback_count), (10, -1, 3));
    let deltas: Vec<_> = twcc.packets.iter().map(|p| p.delta_us).collect();
    assert_eq!(deltas, [Some(1000), Some(2000), Some(3000), None, Some(-1000)]);
    assert_eq!(twcc.packets[4].seq, 14);
}

#[test]
fn long_runs_of_transport_feedback_take_one_chunk() {
    let packets = (0..1000).map(|seq| TwccPacket { seq, delta_us: (seq == 0).then_some(0) }).collect();
    let mut out = Vec::new();
    write_twcc(&mut out, &Twcc { sender: 1, media: 2, base_seq: 0, reference_time: 5, feedback_count: 0, packets });
    assert!(out.len() <= 28, "{} bytes", out.len());
    assert!(matches!(one(&out), Rtcp::Twcc(t) if t.packets.len() == 1000));
}

#[test]
fn absurd_datagrams_are_refused() {
    assert_eq!(parse_compound(&[0x80, 201, 0, 1]), Err(RtcpError::TooShort { at: 0 }));
    assert_eq!(parse_compound(&[0x00, 201, 0, 0]), Err(RtcpError::Version { at: 0, version: 0 }));
    assert_eq!(parse_compound(&[0xa0, 203, 0, 0]), Err(RtcpError::Padding { at: 0 }));
    assert_eq!(parse_compound(&[0x80, 203, 0, 0].repeat(33)), Err(RtcpError::TooManyPackets));
    let statuses = [0x8f, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(parse_compound(&statuses), Err(RtcpError::TooManyStatuses));
    let reserved = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 1, 0, 0];
    assert_eq!(parse_compound(&reserved), Err(RtcpError::TwccSymbol { at: 0 }));
    assert_eq!(parse_compound(&[0x81, 203, 0, 0]), Err(RtcpError::TooShort { at: 0 }));
}

#[test]
fn application_packets_are_only_counted() {
    assert_eq!(one(&[0x80, 204, 0, 2, 0, 0, 0, 1, 1, 2, 3, 4]), Rtcp::Unknown { packet_type: 204 });
    let xr = [0x80, 207, 0, 1, 0, 0, 0, 1];
    assert_eq!(one(&xr), Rtcp::ExtendedReport(xr.to_vec()));
}

prop_compose! {
    fn block()(ssrc: u32, fraction_lost: u8, cumulative_lost in -0x80_0000i32..=0x7f_ffff,
               highest_seq: u32, jitter: u32, last_sr: u32, delay_since_last_sr: u32) -> ReportBlock {
        ReportBlock { ssrc, fraction_lost, cumulative_lost, highest_seq, jitter, last_sr, delay_since_last_sr }
    }
}

proptest! {
    #[test]
    fn reports_round_trip(ssrc: u32, ntp: u64, rtp_time: u32, packets: u32, octets: u32, blocks in vec(block(), 0..70)) {
        let mut out = Vec::new();
        let report = SenderReport { ssrc, ntp, rtp_time, packets, octets, reports: blocks.iter().copied().collect() };
        write_sender_report(&mut out, &report);
        let mut back = Vec::new();
        for packet in parse_compound(&out).unwrap() {
            match packet {
                Rtcp::SenderReport(r) => {
                    prop_assert_eq!((r.ssrc, r.ntp, r.rtp_time, r.packets, r.octets), (ssrc, ntp, rtp_time, packets, octets));
                    back.extend(r.reports);
                }
                Rtcp::ReceiverReport { reports, .. } => back.extend(reports),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(back, blocks);
    }

    #[test]
    fn names_and_goodbyes_round_trip(ssrc: u32, cname in "[a-z0-9{}-]{0,60}", ssrcs in vec(any::<u32>(), 0..31)) {
        let mut out = Vec::new();
        write_sdes_cname(&mut out, ssrc, &cname);
        write_bye(&mut out, &ssrcs);
        let packets = parse_compound(&out).unwrap();
        prop_assert_eq!(&packets[0], &Rtcp::Sdes { chunks: smallvec![SdesChunk { ssrc, cname: Some(cname) }] });
        prop_assert_eq!(&packets[1], &Rtcp::Bye { ssrcs: ssrcs.into() });
    }

    #[test]
    fn lost_packets_round_trip(sender: u32, media: u32, mut lost in vec(any::<u16>(), 1..600)) {
        lost.sort_unstable();
        lost.dedup();
        let mut out = Vec::new();
        write_nack(&mut out, sender, media, &lost);
        let mut back = Vec::new();
        for packet in parse_compound(&out).unwrap() {
            let Rtcp::Nack { sender: s, media: m, lost } = packet else { panic!("not a nack") };
            prop_assert_eq!((s, m), (sender, media));
            back.extend(lost);
        }
        prop_assert_eq!(back, lost);
    }

    #[test]
    fn keyframe_requests_round_trip(sender: u32, media: u32, list in vec((any::<u32>(), any::<u8>()), 0..5)) {
        let entries: Vec<FirEntry> = list.iter().map(|&(ssrc, sequence)| FirEntry { ssrc, sequence }).collect();
        let mut out = Vec::new();
        write_pli(&mut out, sender, media);
        write_fir(&mut out, sender, &entries);
        let packets = parse_compound(&out).unwrap();
        prop_assert_eq!(&packets[0], &Rtcp::Pli { sender, media });
        prop_assert_eq!(&packets[1], &Rtcp::Fir { sender, entries: entries.into() });
    }

    #[test]
    fn rate_limits_round_trip(sender: u32, mantissa in 0x2_0000u64..0x4_0000, exponent in 0u32..46, ssrcs in vec(any::<u32>(), 0..5)) {
        let bitrate_bps = mantissa << exponent;
        let mut out = Vec::new();
        write_remb(&mut out, sender, bitrate_bps, &ssrcs);
        prop_assert_eq!(one(&out), Rtcp::Remb { sender, bitrate_bps, ssrcs: ssrcs.into() });
    }

    #[test]
    fn transport_feedback_round_trips(
        sender: u32, media: u32, base_seq: u16, reference_time in -0x80_0000i32..0x80_0000, feedback_count: u8,
        ticks in vec(prop_oneof![Just(None), (0i64..256).prop_map(Some), (-32768i64..32768).prop_map(Some)], 1..300),
    ) {
        let packets = ticks.iter().enumerate().map(|(i, t)| TwccPacket {
            seq: base_seq.wrapping_add(i as u16), delta_us: t.map(|t| t * 250),
        }).collect();
        let twcc = Twcc { sender, media, base_seq, reference_time, feedback_count, packets };
        let mut out = Vec::new();
        write_twcc(&mut out, &twcc);
        prop_assert_eq!(out.len() % 4, 0);
        prop_assert_eq!(one(&out), Rtcp::Twcc(twcc));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_compound(&bytes);
    }

    #[test]
    fn bytes_that_look_like_rtcp_are_read_or_refused(
        parts in vec((0u8..64, 200u8..208, 0u16..8, vec(any::<u8>(), 0..32)), 0..6),
    ) {
        let mut bytes = Vec::new();
        for (low, packet_type, words, body) in parts {
            bytes.extend_from_slice(&[0x80 | low, packet_type]);
            bytes.extend_from_slice(&words.to_be_bytes());
            bytes.extend_from_slice(&body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if let Ok(packets) = parse_compound(&bytes) {
            prop_assert!(packets.len() <= MAX_PACKETS);
        }
    }
}

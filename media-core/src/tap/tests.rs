//! The ring alone: what is told, in which order, and what a slow reader loses.

use super::*;
use bytes::Bytes;
use std::time::{Duration, Instant};

fn packet(sequence: u64, bytes: usize) -> MediaPacket {
    MediaPacket {
        sequence,
        time: sequence * 3000,
        marker: true,
        payload: vec![0; bytes].into(),
        arrival: Instant::now(),
        room_ns: 0,
        level: None,
        red: None,
    }
}

/// What waits, in short.
fn read(reader: &mut TapReader) -> Vec<String> {
    std::iter::from_fn(|| reader.try_next())
        .map(|item| match item {
            TapItem::Discontinuity(why) => format!("{why:?}"),
            TapItem::Format(format) => format.codec.rtp_name().to_owned(),
            TapItem::Gap { from, to, cause } => format!("{cause:?} {from}..{to}"),
            TapItem::Layer(layer) => format!("layer {layer}"),
            TapItem::Muted(muted) => format!("muted {muted}"),
            TapItem::Packet(packet) => packet.sequence.to_string(),
        })
        .collect()
}

#[test]
fn what_is_told_of_the_stream_comes_before_the_packets_it_holds_for() {
    let (mut writer, mut reader) = ring(16, &Arc::default());
    writer.set_format(Arc::new(CodecParams::h264()));
    writer.set_muted(false);
    writer.set_layer(2);
    assert!(writer.packet(packet(5, 100)));
    writer.set_muted(true);
    writer.breaks(Discontinuity::Source);
    writer.set_muted(false);
    writer.set_layer(0);
    assert!(writer.packet(packet(6, 100)));
    assert!(writer.packet(packet(9, 100)));
    let told = ["H264", "layer 2", "5", "muted true", "muted false", "layer 0", "Source", "6", "Lost 7..9", "9"];
    assert_eq!(read(&mut reader), told);
    drop(writer);
    assert!(reader.is_abandoned());
}

#[test]
fn a_reader_that_is_behind_is_told_what_it_lost_and_what_happened_meanwhile() {
    let (mut writer, mut reader) = ring(16, &Arc::default());
    writer.set_format(Arc::new(CodecParams::opus()));
    let taken = (0..40).filter(|n| writer.packet(packet(*n, 10))).count();
    assert_eq!(taken, 15, "the format took a place");
    assert!(writer.is_behind() && !writer.may_begin());
    writer.set_format(Arc::new(CodecParams::pcma()));
    (0..7).for_each(|_| _ = reader.try_next());
    assert!(!writer.may_begin(), "not half of it is free");
    (0..4).for_each(|_| _ = reader.try_next());
    assert!(writer.may_begin());
    assert!(writer.packet(packet(40, 10)));
    assert!(!writer.is_behind());
    assert_eq!(read(&mut reader), ["10", "11", "12", "13", "14", "PCMA", "Behind 15..40", "40"]);
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let (mut writer, mut reader) = ring(1000, &Arc::default());
    let taken = (0..40).filter(|n| writer.packet(packet(*n, 1 << 20))).count();
    assert_eq!(taken, 16);
    assert_eq!(read(&mut reader).len(), 16);
    assert!(writer.packet(packet(40, 1 << 20)));
    assert_eq!(read(&mut reader), ["Behind 16..40", "40"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_woken_by_one_ring_a_turn_and_miss_nothing() {
    let bell = Arc::new(Bell::default());
    tokio::spawn(bell.clone().serve());
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..32 {
        let (writer, mut reader) = ring(4096, &bell);
        writers.push(writer);
        readers.push(tokio::spawn(async move {
            let (mut got, mut batch, mut batches) = (Vec::new(), Vec::new(), 0);
            while reader.batch(&mut batch).await {
                batches += 1;
                got.extend(batch.drain(..).map(|item| match item {
                    TapItem::Packet(packet) => packet.sequence,
                    other => panic!("{other:?}"),
                }));
            }
            (got, batches)
        }));
    }
    std::thread::spawn(move || {
        for turn in 0..200u64 {
            for n in turn * 20..turn * 20 + 20 {
                writers.iter_mut().for_each(|writer| assert!(writer.packet(packet(n, 1))));
            }
            bell.ring();
            std::thread::sleep(Duration::from_micros(200));
        }
        drop(writers);
        bell.ring();
    });
    for reader in readers {
        let (got, batches) = tokio::time::timeout(Duration::from_secs(20), reader).await.unwrap().unwrap();
        assert_eq!(got, (0..4000).collect::<Vec<u64>>());
        assert!(batches <= 402, "{batches} wakes for 200 turns");
    }
}

#[test]
fn a_reader_that_is_gone_costs_its_writer_nothing() {
    let (mut writer, reader) = ring(16, &Arc::default());
    drop(reader);
    for n in 0..100 {
        writer.packet(MediaPacket { payload: Bytes::from_static(&[1]), ..packet(n, 0) });
    }
    assert!(writer.is_behind());
}

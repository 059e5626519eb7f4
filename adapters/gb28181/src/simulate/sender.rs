//! One thread that sends what all devices show.

use super::{Faults, Reel};
use bytes::BufMut;
use parking_lot::Mutex;
use quinn_udp::{Transmit, UdpSocketState};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rongtong_media_core::mpeg::{Muxer, VideoCodec};
use rongtong_media_core::rtp::packet::{RtpHeader, write_header};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Payload of an RTP packet. With its header it is one datagram of Ethernet.
const PAYLOAD: usize = 1_400;
const HEADER: usize = 12;
const PAYLOAD_TYPE: u8 = 96;
/// Packets of a picture that go with one call.
const AT_ONCE: usize = 40;
/// What a connection that does not take it is owed, and pictures are left out.
const MAX_PENDING: usize = 4 << 20;

pub enum Way {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
}

/// One stream to be sent.
pub struct Stream {
    pub key: u64,
    pub way: Way,
    pub ssrc: u32,
    /// Of a recording: where it begins and ends, Unix milliseconds, and who is to hear that it has ended.
    pub recording: Option<(i64, i64, UnboundedSender<u64>)>,
}

enum Order {
    Begin(Box<Stream>),
    End(u64),
    /// A keyframe is wanted.
    Key(u64),
    Pause(u64),
    /// Goes on at a speed, from a place in Unix milliseconds.
    Play(u64, f64, Option<i64>),
    Stop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub pictures: u64,
    pub packets: u64,
    pub bytes: u64,
    /// The system had no room.
    pub dropped: u64,
    /// The longest that a picture was sent too late, microseconds.
    pub latest: u64,
}

pub struct Sender {
    orders: Mutex<std::sync::mpsc::Sender<Order>>,
    sent: Arc<Mutex<Sent>>,
}

impl Sender {
    pub fn start(reel: Arc<Reel>, faults: Faults, starts_with_key: bool, singly: bool) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let sent = Arc::new(Mutex::new(Sent::default()));
        let told = sent.clone();
        let work = Work {
            reel,
            faults,
            starts_with_key,
            singly,
            streams: HashMap::new(),
            due: BinaryHeap::new(),
            chance: SmallRng::seed_from_u64(28_181),
            began: Instant::now(),
            sent: Sent::default(),
            program: Vec::new(),
            packets: Vec::new(),
        };
        std::thread::Builder::new().name("gb-sender".into()).spawn(move || work.run(&inbox, &told))?;
        Ok(Self { orders: Mutex::new(orders), sent })
    }

    pub fn sent(&self) -> Sent {
        *self.sent.lock()
    }

    fn order(&self, order: Order) {
        let _ = self.orders.lock().send(order);
    }

    pub fn begin(&self, stream: Stream) {
        self.order(Order::Begin(Box::new(stream)));
    }

    pub fn end(&self, key: u64) {
        self.order(Order::End(key));
    }

    pub fn keyframe(&self, key: u64) {
        self.order(Order::Key(key));
    }

    pub fn pause(&self, key: u64) {
        self.order(Order::Pause(key));
    }

    pub fn play(&self, key: u64, speed: f64, from: Option<i64>) {
        self.order(Order::Play(key, speed, from));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.order(Order::Stop);
    }
}

struct Playing {
    stream: Stream,
    udp: Option<UdpSocketState>,
    muxer: Muxer,
    /// In the reel.
    at: usize,
    /// Ticks of 90 kHz.
    pts: u64,
    sequence: u16,
    /// Of a recording, Unix milliseconds.
    position: i64,
    speed: f64,
    paused: bool,
    /// For what is in the queue: what was queued before the last order is not sent.
    turn: u64,
    pending: Vec<u8>,
    /// Waits for the one after it.
    late: Option<Vec<u8>>,
}

struct Work {
    reel: Arc<Reel>,
    faults: Faults,
    starts_with_key: bool,
    singly: bool,
    streams: HashMap<u64, Playing>,
    /// When, which stream, and its turn.
    due: BinaryHeap<Reverse<(Instant, u64, u64)>>,
    chance: SmallRng,
    began: Instant,
    sent: Sent,
    program: Vec<u8>,
    packets: Vec<u8>,
}

impl Work {
    fn run(mut self, inbox: &Receiver<Order>, told: &Mutex<Sent>) {
        loop {
            let now = Instant::now();
            let wait = self.due.peek().map_or(Duration::from_millis(200), |Reverse((at, ..))| {
                at.saturating_duration_since(now).min(Duration::from_millis(200))
            });
            let first = if wait.is_zero() {
                inbox.try_recv().ok()
            } else {
                match inbox.recv_timeout(wait) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            for order in first.into_iter().chain(inbox.try_iter()) {
                if matches!(order, Order::Stop) {
                    return;
                }
                self.order(order);
            }
            let now = Instant::now();
            while let Some(Reverse((at, key, turn))) = self.due.peek().copied() {
                if at > now {
                    break;
                }
                self.due.pop();
                self.picture(at, key, turn);
            }
            *told.lock() = self.sent;
        }
    }

    fn order(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Begin(stream) => {
                let udp = match &stream.way {
                    Way::Udp(socket, _) => UdpSocketState::new(socket.into()).ok(),
                    Way::Tcp(_) => None,
                };
                let fps = self.reel.fps as u64;
                let elapsed = now.duration_since(self.began).as_millis() as u64 * fps / 1_000;
                let position = stream.recording.as_ref().map_or(0, |(begin, ..)| *begin);
                let at = match (&stream.recording, self.starts_with_key) {
                    (Some(_), _) => self.reel.key_after(self.place(position)),
                    (None, true) => 0,
                    (None, false) => elapsed as usize % self.reel.len().max(1),
                };
                let playing = Playing {
                    udp,
                    muxer: Muxer::new(Some(VideoCodec::H264), None),
                    at,
                    pts: 90_000 + u64::from(self.chance.random::<u32>() >> 4),
                    sequence: self.chance.random(),
                    position,
                    speed: 1.0,
                    paused: false,
                    turn: 0,
                    pending: Vec::new(),
                    late: None,
                    stream: *stream,
                };
                let key = playing.stream.key;
                self.streams.insert(key, playing);
                self.due.push(Reverse((now, key, 0)));
            }
            Order::End(key) => {
                self.streams.remove(&key);
            }
            Order::Key(key) => {
                let reel = self.reel.clone();
                if let Some(playing) = self.streams.get_mut(&key) {
                    playing.at = reel.key_after(playing.at);
                }
            }
            Order::Pause(key) => {
                if let Some(playing) = self.streams.get_mut(&key) {
                    playing.paused = true;
                    playing.turn += 1;
                }
            }
            Order::Play(key, speed, from) => {
                let place = from.map(|from| self.reel.key_after(self.place(from)));
                if let Some(playing) = self.streams.get_mut(&key) {
                    playing.turn += 1;
                    (playing.speed, playing.paused) = (speed, false);
                    if let (Some(from), Some(place)) = (from, place) {
                        (playing.position, playing.at) = (from, place);
                        // As of a file that is read from elsewhere.
                        playing.pts = 90_000;
                    }
                    self.due.push(Reverse((now, key, playing.turn)));
                }
            }
            Order::Stop => {}
        }
    }

    /// Where in the reel a moment of a recording is.
    fn place(&self, position: i64) -> usize {
        (position.rem_euclid(86_400_000) as u64 * u64::from(self.reel.fps) / 1_000) as usize % self.reel.len().max(1)
    }

    fn picture(&mut self, at: Instant, key: u64, turn: u64) {
        let Some(playing) = self.streams.get_mut(&key).filter(|playing| playing.turn == turn && !playing.paused) else {
            return;
        };
        let late = at.elapsed().as_micros() as u64;
        self.sent.latest = self.sent.latest.max(late);
        if let Some((_, end, ended)) = &playing.stream.recording
            && playing.position >= *end
        {
            playing.paused = true;
            let _ = ended.send(key);
            return;
        }
        let Some(unit) = self.reel.units.get(playing.at) else { return };
        self.program.clear();
        playing.muxer.video(unit, playing.pts, &mut self.program);
        write_packets(playing, &self.program, &mut self.packets);
        self.sent.pictures += 1;
        let count = self.program.len().div_ceil(PAYLOAD) as u64;
        self.sent.packets += count;
        self.sent.bytes += self.packets.len() as u64;
        let step = 90_000 / u64::from(self.reel.fps);
        playing.pts += step;
        playing.at = (playing.at + 1) % self.reel.len();
        playing.position += 1_000 / i64::from(self.reel.fps);
        let every = Duration::from_secs_f64(1.0 / f64::from(self.reel.fps) / playing.speed.max(0.05));
        self.due.push(Reverse((at + every, key, turn)));
        let ok = match &mut playing.stream.way {
            Way::Udp(socket, to) if !self.singly && self.faults.loss == 0 && self.faults.reorder == 0 => {
                send_many(socket, playing.udp.as_ref(), *to, &self.packets)
            }
            Way::Udp(..) => send_badly(playing, &self.packets, self.faults, &mut self.chance),
            Way::Tcp(stream) => send_framed(stream, &mut playing.pending, &self.packets),
        };
        self.sent.dropped += u64::from(!ok);
    }
}

/// RTP packets one behind the other, all of the same length but the last.
fn write_packets(playing: &mut Playing, program: &[u8], packets: &mut Vec<u8>) {
    packets.clear();
    let last = program.len().div_ceil(PAYLOAD).saturating_sub(1);
    for (number, part) in program.chunks(PAYLOAD).enumerate() {
        let header = RtpHeader {
            marker: number == last,
            payload_type: PAYLOAD_TYPE,
            sequence: playing.sequence,
            timestamp: playing.pts as u32,
            ssrc: playing.stream.ssrc,
            csrc_count: 0,
        };
        write_header(packets, &header, &[]);
        packets.extend_from_slice(part);
        playing.sequence = playing.sequence.wrapping_add(1);
    }
}

fn send_many(socket: &UdpSocket, state: Option<&UdpSocketState>, to: SocketAddr, packets: &[u8]) -> bool {
    let size = PAYLOAD + HEADER;
    let Some(state) = state else { return false };
    let most = state.max_gso_segments().clamp(1, AT_ONCE);
    let mut whole = true;
    for part in packets.chunks(size * most) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: part,
            segment_size: (part.len() > size).then_some(size),
            src_ip: None,
        };
        whole &= state.try_send(socket.into(), &transmit).is_ok();
    }
    whole
}

fn send_badly(playing: &mut Playing, packets: &[u8], faults: Faults, chance: &mut SmallRng) -> bool {
    let Way::Udp(socket, to) = &playing.stream.way else { return false };
    let mut whole = true;
    for packet in packets.chunks(PAYLOAD + HEADER) {
        if chance.random_range(0..10_000) < faults.loss {
            continue;
        }
        if playing.late.is_none() && chance.random_range(0..10_000) < faults.reorder {
            playing.late = Some(packet.to_vec());
            continue;
        }
        whole &= socket.send_to(packet, to).is_ok();
        if let Some(late) = playing.late.take() {
            whole &= socket.send_to(&late, to).is_ok();
        }
    }
    whole
}

/// With two bytes of length before each (RFC 4571).
fn send_framed(stream: &mut TcpStream, pending: &mut Vec<u8>, packets: &[u8]) -> bool {
    if pending.len() > MAX_PENDING {
        return false;
    }
    for packet in packets.chunks(PAYLOAD + HEADER) {
        pending.put_u16(packet.len() as u16);
        pending.extend_from_slice(packet);
    }
    let mut done = 0;
    while done < pending.len() {
        match stream.write(&pending[done..]) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    pending.drain(..done);
    true
}

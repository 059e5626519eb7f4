//! RTP and RTCP of a camera over UDP: RTP on an even port of ours, RTCP on the next (RFC 3550 11).
//!
//! Packets count that come from the camera's address or from the `source` of its answer, from
//! whatever port: cameras send from others than they announce.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

const LONGEST: usize = 64 * 1024;
const MOST_TRIES: usize = 50;
/// Open the way back through firewalls; cameras ignore them: an RTP header, and an empty report.
const PUNCH_RTP: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const PUNCH_RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 0];

struct Pair {
    /// retina's channel for RTP; RTCP has the next.
    channel: u8,
    port: u16,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    camera: Option<Camera>,
}

struct Camera {
    hosts: [IpAddr; 2],
    rtp: SocketAddr,
    rtcp: SocketAddr,
}

/// The ports of all streams.
#[derive(Default)]
pub struct Ports {
    pairs: Vec<Pair>,
    /// Socket to be read first, so that none waits for the others.
    turn: usize,
    buffer: Vec<u8>,
}

impl Ports {
    /// Takes two free ports of this address; returns the first.
    ///
    /// # Errors
    /// There are none.
    pub async fn open(&mut self, mut local: SocketAddr, channel: u8) -> std::io::Result<u16> {
        let mut tried = Err(ErrorKind::AddrInUse.into());
        for _ in 0..MOST_TRIES {
            local.set_port(0);
            let one = UdpSocket::bind(local).await?;
            let port = one.local_addr()?.port();
            local.set_port(port ^ 1);
            match UdpSocket::bind(local).await {
                Ok(other) => {
                    let (rtp, rtcp) = if port.is_multiple_of(2) { (one, other) } else { (other, one) };
                    tried = Ok((port & !1, rtp, rtcp));
                    break;
                }
                Err(error) => tried = Err(error),
            }
        }
        let (port, rtp, rtcp) = tried?;
        self.pairs.retain(|pair| pair.channel != channel);
        self.pairs.push(Pair { channel, port, rtp, rtcp, camera: None });
        Ok(port)
    }

    /// The camera at `peer` sends to our `port` from `source`, as it says from its port `server_port`.
    /// Returns the stream's channel.
    pub async fn answered(&mut self, port: u16, peer: SocketAddr, source: IpAddr, server_port: u16) -> Option<u8> {
        let pair = self.pairs.iter_mut().find(|pair| pair.port == port)?;
        // An address of a link keeps its scope.
        let mut rtp = if source == peer.ip() { peer } else { SocketAddr::new(source, 0) };
        let mut rtcp = rtp;
        rtp.set_port(server_port);
        rtcp.set_port(server_port.saturating_add(1));
        // What is lost here is sent again with the reports.
        let _ = pair.rtp.send_to(&PUNCH_RTP, rtp).await;
        let _ = pair.rtcp.send_to(&PUNCH_RTCP, rtcp).await;
        pair.camera = Some(Camera { hosts: [peer.ip(), source], rtp, rtcp });
        Some(pair.channel)
    }

    /// Sends a report of the stream with this channel; whether it goes over UDP at all.
    pub async fn report(&self, channel: u8, report: &[u8]) -> bool {
        let Some(pair) = self.pairs.iter().find(|pair| pair.channel == channel) else { return false };
        if let Some(camera) = &pair.camera {
            let _ = pair.rtp.send_to(&PUNCH_RTP, camera.rtp).await;
            let _ = pair.rtcp.send_to(report, camera.rtcp).await;
        }
        true
    }

    /// The next packet and its channel. Loses none when it is dropped.
    ///
    /// # Errors
    /// A socket can't be read any more.
    pub async fn next(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// A packet that is there already.
    pub fn ready(&mut self) -> Option<(u8, Vec<u8>)> {
        match self.poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Ok(packet)) => Some(packet),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<(u8, Vec<u8>)>> {
        self.buffer.resize(LONGEST, 0);
        let sockets = 2 * self.pairs.len();
        for at in 0..sockets {
            let at = (self.turn + at) % sockets;
            let Some(pair) = self.pairs.get(at / 2) else { continue };
            let socket = if at.is_multiple_of(2) { &pair.rtp } else { &pair.rtcp };
            loop {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                match socket.poll_recv_from(context, &mut buffer) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(from)) => {
                        if pair.camera.as_ref().is_some_and(|camera| camera.hosts.contains(&from.ip())) {
                            self.turn = at + 1;
                            let channel = pair.channel.saturating_add((at % 2) as u8);
                            return Poll::Ready(Ok((channel, buffer.filled().to_vec())));
                        }
                    }
                    // Nobody listens at the port that the camera named.
                    Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn packets_of_the_camera_count_from_any_port_and_strangers_do_not() {
        let mut ports = Ports::default();
        let first = ports.open((Ipv4Addr::LOCALHOST, 9).into(), 2).await.unwrap();
        assert_eq!(first % 2, 0);
        let camera = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let named = camera.local_addr().unwrap();
        assert_eq!(ports.answered(first + 2, named, named.ip(), named.port()).await, None, "another port");
        assert_eq!(ports.answered(first, named, "10.9.9.9".parse().unwrap(), 7_000).await, Some(2));
        assert_eq!(ports.answered(first, named, named.ip(), named.port()).await, Some(2));
        let mut bytes = [0; 99];
        let (length, from) = camera.recv_from(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..length], from.port()), (&PUNCH_RTP[..], first));

        let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        stranger.send_to(b"stranger", (Ipv4Addr::LOCALHOST, first)).await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.send_to(b"report", (Ipv4Addr::LOCALHOST, first + 1)).await.unwrap();
        assert_eq!(ports.next().await.unwrap(), (3, b"report".to_vec()));
        other.send_to(b"packet", (Ipv4Addr::LOCALHOST, first)).await.unwrap();
        assert_eq!(ports.next().await.unwrap(), (2, b"packet".to_vec()));
        assert_eq!(ports.ready(), None);
        assert!(ports.report(2, b"heard").await && !ports.report(4, b"heard").await);
    }
}

//! `rongtong bench`: what forwarding costs, measured with clients in processes of their own.
//!
//! Each command ends with one line of JSON, `{"bars":[{"name","value","limit","ok"}], …}`, and with exit
//! code 1 when a bar is missed. `docs/BENCHMARKS.md` says what is measured and how.

mod client;
mod floor;
mod forward;
mod gb;
mod hostile;
mod janus;
mod load;
mod parts;
mod report;
mod signal;
pub mod taps;

use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Subcommand)]
pub enum Bench {
    /// Publishers whose packets all subscribers get, through this server.
    Forward(Forward),
    /// Devices of GB/T 28181 that live, and streams of theirs that are watched.
    Gb(gb::Gb),
    /// The devices of `gb`.
    #[command(hide = true)]
    Fleet(gb::FleetArgs),
    /// The least that sending costs: packets sealed and sent, and nothing else. Part of `forward`.
    #[command(hide = true)]
    Floor(Floor),
    /// Sends what is nobody's. Part of `forward`.
    #[command(hide = true)]
    Hostile(Hostile),
    /// Sends back every datagram.
    #[command(hide = true)]
    Echo,
    /// Sockets that only take packets.
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        sockets: usize,
    },
    /// Publishers and subscribers of one process.
    #[command(hide = true)]
    Load(Load),
}

#[derive(Args, Clone, Debug)]
pub struct Forward {
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    #[arg(long, default_value_t = 100)]
    pub subscribers: usize,
    /// Packets a second of each publisher.
    #[arg(long, default_value_t = 208)]
    pub pps: u32,
    /// Bytes of payload.
    #[arg(long, default_value_t = 1176)]
    pub payload: usize,
    /// Packets of a picture, sent together.
    #[arg(long, default_value_t = 1)]
    pub picture: u32,
    #[arg(long, value_enum, default_value_t = Clients::Full)]
    pub clients: Clients,
    /// The WebSocket of a Janus that is to do the same in the same run, as `scripts/bench-janus.sh` starts it, and
    /// its process.
    #[arg(long, requires = "janus_pid")]
    pub janus: Option<String>,
    #[arg(long)]
    pub janus_pid: Option<u32>,
    /// How long is measured.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// After that, five seconds of so many times the packets, more than can be forwarded: how long does it take
    /// until all is well again?
    #[arg(long)]
    pub surge: Option<u32>,
    /// Datagrams a second that are nobody's, sent to the media port all the while.
    #[arg(long)]
    pub hostile: Option<u32>,
    /// After that, so many readers in the server's own process on each track, and none, in turns: what do they do to
    /// the subscribers' delay?
    #[arg(long)]
    pub taps: Option<u32>,
}

/// What a subscriber does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clients {
    /// Counts them.
    Light,
    /// Opens them, asks for lost ones, reports every second.
    Full,
}

impl Clients {
    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Full => "full",
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Floor {
    /// Addresses to send to, one port after another.
    #[arg(long)]
    pub first: SocketAddr,
    #[arg(long)]
    pub subscribers: usize,
    #[arg(long)]
    pub pps: u32,
    #[arg(long)]
    pub payload: usize,
    /// Packets to one destination at a time.
    #[arg(long, default_value_t = 1)]
    pub per_flush: usize,
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}

#[derive(Args, Clone, Debug)]
pub struct Hostile {
    #[arg(long)]
    pub to: SocketAddr,
    #[arg(long)]
    pub pps: u32,
}

#[derive(Args, Clone, Debug)]
pub struct Load {
    #[arg(long)]
    pub url: String,
    #[arg(long)]
    pub key: String,
    #[arg(long)]
    pub secret: String,
    #[arg(long, default_value_t = 0)]
    pub publishers: usize,
    #[arg(long, default_value_t = 0)]
    pub subscribers: usize,
    #[arg(long, default_value_t = 208)]
    pub pps: u32,
    #[arg(long, default_value_t = 1176)]
    pub payload: usize,
    /// Packets of a picture, sent together.
    #[arg(long, default_value_t = 1)]
    pub picture: u32,
    #[arg(long, value_enum, default_value_t = Clients::Full)]
    pub clients: Clients,
    /// Note how long each packet took, and likewise through this echo.
    #[arg(long)]
    pub echo: Option<SocketAddr>,
    /// The server is a Janus; subscribers watch so many publishers.
    #[arg(long)]
    pub janus: Option<usize>,
    /// Begins the participants' names.
    #[arg(long)]
    pub name: String,
    /// Rooms, by commas, that participants are spread over; by default all are in one.
    #[arg(long, value_delimiter = ',')]
    pub rooms: Vec<String>,
}

pub async fn run(bench: Bench) -> Result<(), Failure> {
    match bench {
        Bench::Forward(forward) => forward::run(forward).await,
        Bench::Gb(gb) => gb::run(gb).await,
        Bench::Fleet(fleet) => gb::fleet(fleet).await,
        Bench::Floor(floor) => blocking(move || floor::run(&floor)).await,
        Bench::Hostile(hostile) => blocking(move || hostile::run(&hostile)).await,
        Bench::Echo => blocking(floor::echo).await,
        Bench::Sink { sockets } => blocking(move || floor::sink(sockets)).await,
        Bench::Load(load) => load::run(load).await,
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    tokio::task::spawn_blocking(work).await?
}

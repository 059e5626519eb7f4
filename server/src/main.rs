//! `rongtong`: the server and its commands.

mod allocations;
mod bench;
mod check;
mod console;
mod demo;
mod docs;
mod gb28181;
mod glue;
mod health;
mod ingest;
mod linger;
mod listen;
mod serve;
mod simulate;
mod system;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

#[derive(Parser)]
#[command(name = "rongtong", version, about = "融通: one room for everything a command centre must see and talk to")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        /// TOML file; without one the defaults hold.
        #[arg(long, short)]
        config: Option<PathBuf>,
        /// Also serve this many demo cameras and put them into a demo room.
        #[arg(long, default_value_t = 0)]
        demo: u32,
    },
    /// Check a configuration and print what would hold.
    CheckConfig {
        #[arg(long, short)]
        config: Option<PathBuf>,
    },
    /// Check the audit log's chain; exit 1 names the first row that was tampered with.
    AuditVerify {
        #[arg(long, short)]
        config: Option<PathBuf>,
    },
    /// Measure what forwarding costs.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Be a device, for demonstrations and tests.
    Simulate {
        #[command(subcommand)]
        device: simulate::Device,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rongtong: the runtime could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match cli.command {
        Command::AuditVerify { config } => runtime.block_on(check::audit(config.as_deref())),
        Command::Bench { bench } => {
            runtime.block_on(bench::run(bench)).map_err(|error| -> Box<dyn std::error::Error> { error })
        }
        Command::CheckConfig { config } => check::config(config.as_deref()),
        Command::Serve { config, demo } => runtime.block_on(serve::run(config.as_deref(), demo)),
        Command::Simulate { device } => runtime.block_on(simulate::run(device)),
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rongtong: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The whole measurement: a server of its own, its clients, an echo beside them, and the floor after it.

use super::parts::{Helper, KEY, SECRET, Server, metric, number, text};
use super::report::{Cpu, Report, resident_kib};
use super::{Failure, Forward};
use std::time::Duration;
use tokio::time::sleep;

/// More than this a packet, at one packet a flush, and the machine is too busy for the run to count.
const VOID_FLOOR: f64 = 5.0;
/// Packets this much later than an echo show that something still waits.
const LATE_MS: f64 = 20.0;
const SURGE_SECONDS: u64 = 5;
/// Measurements with readers, and as many without.
const TAP_TURNS: u64 = 5;
const WARM_UP: Duration = Duration::from_secs(3);

pub async fn run(bench: Forward) -> Result<(), Failure> {
    let mut report = Report::default();
    let server = Server::start(&[(super::taps::COUNT, bench.taps.unwrap_or(0).to_string())]).await?;
    let mut echo = Helper::start(&["echo"]).await?;
    let echo_address = text(&echo.line().await?, "address")?;

    // Subscribers of an empty room first: what they cost by being there.
    sleep(Duration::from_secs(1)).await;
    let (memory_before, cpu_before) = (resident_kib(server.pid)?, Cpu::of(server.pid)?);
    let load = |kind: &[&str], name: &str| {
        let words = ["load", "--url", &server.signal, "--key", KEY, "--secret", SECRET, "--name", name];
        words.iter().chain(kind).map(ToString::to_string).collect::<Vec<_>>()
    };
    let count = bench.subscribers.to_string();
    let mut watching = Helper::start(&load(&["--subscribers", &count, "--clients", bench.clients.name()], "s")).await?;
    watching.line().await?;
    let connecting = Cpu::of(server.pid)?.since(cpu_before);
    sleep(Duration::from_secs(2)).await;
    let memory = resident_kib(server.pid)? - memory_before;

    let mut probe = Helper::start(&load(&["--subscribers", "1", "--echo", &echo_address], "probe")).await?;
    probe.line().await?;
    let (publishers, pps, payload) = (bench.publishers.to_string(), bench.pps.to_string(), bench.payload.to_string());
    let picture = bench.picture.to_string();
    let sending = ["--publishers", &publishers, "--pps", &pps, "--payload", &payload, "--picture", &picture];
    let mut sending = Helper::start(&load(&sending, "p")).await?;
    sending.line().await?;
    sending.say("send").await?;
    sleep(WARM_UP).await;

    for helper in [&mut watching, &mut probe] {
        helper.say("measure").await?;
    }
    let mut hostile = match bench.hostile {
        Some(pps) => Some(Helper::start(&["hostile", "--to", &server.media, "--pps", &pps.to_string()]).await?),
        None => None,
    };
    if let Some(hostile) = &mut hostile {
        hostile.line().await?;
    }
    let log_before = server.log_bytes();
    let (before, cpu_before) = (server.metrics().await?, Cpu::of(server.pid)?);
    sleep(Duration::from_secs(bench.seconds)).await;
    let (after, cpu) = (server.metrics().await?, Cpu::of(server.pid)?.since(cpu_before));
    watching.say("report").await?;
    probe.say("report").await?;
    let (watched, probed) = (watching.line().await?, probe.line().await?);
    let count = |name: &str| metric(&after, name) - metric(&before, name);
    if let Some(mut hostile) = hostile {
        hostile.say("stop").await?;
        let said = hostile.line().await?;
        report.note("hostile_per_second", number(&said, "sent") / bench.seconds as f64);
        report.note("garbage_per_second", count("media_garbage") / bench.seconds as f64);
        report.bar("answered_bytes", number(&said, "answered_bytes"), 0.0);
        report.bar("log_kb_per_second", (server.log_bytes() - log_before) as f64 / 1e3 / bench.seconds as f64, 1.0);
    }
    if bench.taps.is_some() {
        let readers = || load(&["--subscribers", "1"], super::taps::NAME);
        taps(bench.seconds, readers, &server, &mut probe, &mut report).await?;
    }
    if let Some(times) = bench.surge {
        surge(times, &server, &mut sending, &mut watching, &mut probe, &mut report).await?;
    }
    for helper in [watching, probe, sending, echo] {
        helper.stop().await;
    }
    server.stop().await;

    let packets = number(&watched, "packets") + number(&probed, "times");
    let (sent, messages) = (count("media_packets_out"), count("media_send_messages"));
    let per_flush = (sent / messages.max(1.0)).round().max(1.0) as usize;
    let floor = floor(&bench, per_flush).await?;
    let a_packet = |micros: f64| micros / packets.max(1.0);
    let ratio_limit = if bench.pps >= 1000 { 1.5 } else { 2.0 };
    let loss = 1.0 - number(&watched, "packets") / number(&watched, "expected").max(1.0);
    report.note("packets_per_second", packets / bench.seconds as f64);
    report.note("core_percent", cpu.total() / (bench.seconds as f64 * 1e4));
    report.note("cpu_us_per_packet", a_packet(cpu.total()));
    report.note("user_us", a_packet(cpu.user));
    report.note("sys_us", a_packet(cpu.system));
    if per_flush == 1 {
        report.bar("floor_us", floor, VOID_FLOOR);
    } else {
        report.note("floor_us", floor);
    }
    report.note("packets_per_message", sent / messages.max(1.0));
    let ratio = a_packet(cpu.total()) / floor;
    if bench.hostile.is_some() {
        // It holds the work for the others, too.
        report.note("ratio_to_floor", ratio);
    } else {
        report.bar("ratio_to_floor", ratio, ratio_limit);
    }
    report.bar("loss", loss, 0.0001);
    report.bar("broken", number(&watched, "broken"), 0.0);
    report.bar("streams_missing", (bench.subscribers * bench.publishers) as f64 - number(&watched, "streams"), 0.0);
    report.note("retransmitted", number(&watched, "retransmitted"));
    let (p50, p99) = (number(&probed, "p50_ms"), number(&probed, "p99_ms"));
    let (echo_p50, echo_p99) = (number(&probed, "echo_p50_ms"), number(&probed, "echo_p99_ms"));
    report.note("echo_p50_ms", echo_p50);
    report.note("echo_p99_ms", echo_p99);
    report.note("added_p50_ms", p50 - echo_p50);
    if bench.picture > 1 {
        // The last packet of a picture waits for all of them to all subscribers.
        report.note("added_p99_ms", p99 - echo_p99);
    } else {
        report.bar("added_p99_ms", p99 - echo_p99, 2.0);
    }
    report.bar("rss_per_subscriber_kb", memory / bench.subscribers.max(1) as f64, 150.0);
    report.bar("connect_cpu_ms_per_100", connecting.total() / 1000.0 * 100.0 / bench.subscribers.max(1) as f64, 500.0);
    report.note("allocs_per_packet", count("media_allocations") / sent.max(1.0));
    report.note("packets_per_call", sent / count("media_send_calls").max(1.0));
    if let Some((url, pid)) = bench.janus.as_deref().zip(bench.janus_pid) {
        let janus = janus(&bench, url, pid).await?;
        report.note("janus_cpu_us_per_packet", janus.0);
        report.note("janus_loss", janus.1);
        report.bar("ratio_to_janus", a_packet(cpu.total()) / janus.0, 1.0 / 6.0);
    }
    println!("{}", serde_json::to_string(&report)?);
    if report.is_ok() { Ok(()) } else { Err("a bar was missed".into()) }
}

/// Delay with readers and without, in turns; the middle one of each counts.
async fn taps(
    seconds: u64,
    readers: impl Fn() -> Vec<String>,
    server: &Server,
    probe: &mut Helper,
    report: &mut Report,
) -> Result<(), Failure> {
    let (mut without, mut with, mut read, mut gaps, mut used) = (Vec::new(), Vec::new(), 0.0, 0.0, 0.0);
    for turn in 0..2 * TAP_TURNS {
        let helper = match turn % 2 {
            0 => None,
            _ => {
                let mut helper = Helper::start(&readers()).await?;
                helper.line().await?;
                Some(helper)
            }
        };
        sleep(Duration::from_secs(1)).await;
        let (before, cpu) = (server.metrics().await?, Cpu::of(server.pid)?);
        probe.say("measure").await?;
        sleep(Duration::from_secs(seconds)).await;
        probe.say("report").await?;
        let p99 = number(&probe.line().await?, "p99_ms");
        let cpu = Cpu::of(server.pid)?.since(cpu).total() / (seconds as f64 * 1e4);
        let after = server.metrics().await?;
        let count = |name: &str| metric(&after, name) - metric(&before, name);
        match helper {
            None => {
                without.push(p99);
                used -= cpu;
            }
            Some(helper) => {
                with.push(p99);
                used += cpu;
                read += count("bench_tap_packets");
                gaps += count("bench_tap_gaps");
                helper.stop().await;
            }
        }
    }
    let middle = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let (without, with) = (middle(&mut without), middle(&mut with));
    report.note("tap_packets_per_second", read / (seconds * TAP_TURNS) as f64);
    report.note("tap_gaps", gaps);
    report.note("tap_core_percent", used / TAP_TURNS as f64);
    report.note("p99_without_taps_ms", without);
    report.note("p99_with_taps_ms", with);
    report.bar("p99_ratio_of_taps", with / without.max(0.001), 1.1);
    Ok(())
}

/// More than can be forwarded for five seconds, and how many it takes until a whole one is without loss and late
/// packets.
async fn surge(
    times: u32,
    server: &Server,
    sending: &mut Helper,
    watching: &mut Helper,
    probe: &mut Helper,
    report: &mut Report,
) -> Result<(), Failure> {
    watching.say("measure").await?;
    let before = Cpu::of(server.pid)?;
    sending.say(&format!("times {times}")).await?;
    sleep(Duration::from_secs(SURGE_SECONDS)).await;
    watching.say("report").await?;
    let during = watching.line().await?;
    let cpu = Cpu::of(server.pid)?.since(before);
    sending.say("times 1").await?;
    let mut seconds = 0;
    while seconds < 60 {
        for helper in [&mut *watching, &mut *probe] {
            helper.say("measure").await?;
        }
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
        let mut said = Vec::new();
        for helper in [&mut *watching, &mut *probe] {
            helper.say("report").await?;
            said.push(helper.line().await?);
        }
        let [watched, probed] = &said[..] else { break };
        let lost = number(watched, "expected") - number(watched, "packets");
        let late = number(probed, "p99_ms") - number(probed, "echo_p99_ms");
        if number(watched, "packets") > 0.0 && lost == 0.0 && late < LATE_MS {
            break;
        }
    }
    report.note("surge_packets_per_second", number(&during, "packets") / SURGE_SECONDS as f64);
    report.note("surge_loss", 1.0 - number(&during, "packets") / number(&during, "expected").max(1.0));
    report.note("surge_core_percent", cpu.total() / (SURGE_SECONDS as f64 * 1e4));
    report.bar("recovery_s", f64::from(seconds), 10.0);
    Ok(())
}

/// What Janus takes for the same: microseconds of CPU a packet, and the share that was lost.
async fn janus(bench: &Forward, url: &str, pid: u32) -> Result<(f64, f64), Failure> {
    let (publishers, subscribers) = (bench.publishers.to_string(), bench.subscribers.to_string());
    let (pps, payload) = (bench.pps.to_string(), bench.payload.to_string());
    let common = ["load", "--url", url, "--key", KEY, "--secret", SECRET, "--janus", &publishers, "--name", "j"];
    let picture = bench.picture.to_string();
    let sending = ["--publishers", &publishers, "--pps", &pps, "--payload", &payload, "--picture", &picture];
    let mut sending = Helper::start(&[&common[..], &sending].concat()).await?;
    sending.line().await?;
    sending.say("send").await?;
    let watching = ["--subscribers", &subscribers, "--clients", bench.clients.name()];
    let mut watching = Helper::start(&[&common[..], &watching].concat()).await?;
    watching.line().await?;
    sleep(WARM_UP).await;
    watching.say("measure").await?;
    let before = Cpu::of(pid)?;
    sleep(Duration::from_secs(bench.seconds)).await;
    let cpu = Cpu::of(pid)?.since(before);
    watching.say("report").await?;
    let watched = watching.line().await?;
    watching.stop().await;
    sending.stop().await;
    let packets = number(&watched, "packets");
    Ok((cpu.total() / packets.max(1.0), 1.0 - packets / number(&watched, "expected").max(1.0)))
}

/// Microseconds of CPU that sealing and sending one packet takes at least.
async fn floor(bench: &Forward, per_flush: usize) -> Result<f64, Failure> {
    let mut sink = Helper::start(&["sink", "--sockets", &bench.subscribers.to_string()]).await?;
    let first = text(&sink.line().await?, "first")?;
    let (subscribers, pps) = (bench.subscribers.to_string(), (bench.pps * bench.publishers as u32).to_string());
    let (payload, per_flush) = (bench.payload.to_string(), per_flush.to_string());
    let mut words = vec!["floor", "--first", &first, "--subscribers", &subscribers, "--pps", &pps];
    words.extend(["--payload", &payload, "--per-flush", &per_flush]);
    let mut floor = Helper::start(&words).await?;
    let result = floor.line().await?;
    floor.stop().await;
    sink.stop().await;
    Ok((number(&result, "user") + number(&result, "system")) / number(&result, "packets").max(1.0))
}

//! What a benchmark says: numbers, and which of them are bars.

use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub struct Bar {
    pub name: &'static str,
    pub value: f64,
    /// The most that is allowed; none for a number that is only told.
    pub limit: Option<f64>,
    pub ok: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub bars: Vec<Bar>,
}

impl Report {
    pub fn note(&mut self, name: &'static str, value: f64) {
        self.bars.push(Bar { name, value: round(value), limit: None, ok: true });
    }

    pub fn bar(&mut self, name: &'static str, value: f64, limit: f64) {
        // A number that could not be had is no success.
        let ok = value <= limit;
        self.bars.push(Bar { name, value: round(value), limit: Some(limit), ok });
    }

    pub fn is_ok(&self) -> bool {
        self.bars.iter().all(|bar| bar.ok)
    }
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Times, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u32>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds; not a number when there is none.
    pub fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable();
        let at = ((self.0.len() as f64 * percent / 100.0) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(f64::NAN, |time| f64::from(*time) / 1000.0)
    }
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Microseconds.
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    /// Of a running process, to a hundredth of a second (`/proc/<pid>/stat`).
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold anything.
        let after = text.rsplit_once(')').map_or("", |(_, after)| after);
        let field = |number: usize| after.split_whitespace().nth(number).and_then(|field| field.parse::<f64>().ok());
        // SAFETY: asks for a constant of the system.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
        let micros = |number| field(number).unwrap_or(0.0) * 1e6 / ticks;
        Ok(Self { user: micros(11), system: micros(12) })
    }

    /// Of this process.
    pub fn own() -> Self {
        // SAFETY: the structure is plain, and the call fills it in.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            usage
        };
        let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        Self { user: micros(usage.ru_utime), system: micros(usage.ru_stime) }
    }

    pub fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Resident memory of a process, KiB.
pub fn resident_kib(pid: u32) -> std::io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN))
}

/// The monotonic clock, which all processes of a machine share, ns.
pub fn monotonic_ns() -> u64 {
    // SAFETY: the structure is plain, and the call fills it in.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps until the monotonic clock says so.
pub fn sleep_until(ns: u64) {
    let time =
        libc::timespec { tv_sec: (ns / 1_000_000_000) as libc::time_t, tv_nsec: (ns % 1_000_000_000) as libc::c_long };
    // SAFETY: the structure outlives the call, which only reads it.
    unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &time, std::ptr::null_mut());
    }
}

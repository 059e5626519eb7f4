//! Counters for Prometheus (OpenMetrics text) and the list that the system page shows.
//!
//! Invariant: a name is registered once; asking for it again gives the same series. Labels come
//! from small fixed sets, never from what a client sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter;
use prometheus_client::metrics::family::{self, MetricConstructor};
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// Names and values of the labels of one series.
pub type Labels = Vec<(&'static str, String)>;
pub type Counter = counter::Counter;
pub type Gauge = gauge::Gauge;
pub type FloatGauge = gauge::Gauge<f64, AtomicU64>;
pub type Histogram = histogram::Histogram;
pub type Counters = family::Family<Labels, Counter>;
pub type Gauges = family::Family<Labels, Gauge>;
pub type Histograms = family::Family<Labels, Histogram, Buckets>;

/// Upper bounds of a histogram.
#[derive(Clone, Debug)]
pub struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// For durations in seconds, from 1 ms to 10 s.
pub const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// One line of the system page.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Indicator {
    pub name: String,
    pub value: f64,
    pub unit: String,
    pub help: String,
}

enum Known {
    Counter(Counter),
    Counters(Counters),
    Gauge(Gauge),
    FloatGauge(FloatGauge),
    Gauges(Gauges),
    Histogram(Histogram),
    Histograms(Histograms),
}

struct Watched {
    unit: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// The server's metrics. Share it by `Arc`.
pub struct Metrics {
    started: Instant,
    registry: Mutex<Registry>,
    known: Mutex<BTreeMap<&'static str, Known>>,
    indicators: Mutex<BTreeMap<&'static str, Watched>>,
    resident: FloatGauge,
    descriptors: Gauge,
    uptime: FloatGauge,
}

macro_rules! series {
    ($($(#[$doc:meta])* $name:ident -> $kind:ident = $make:expr;)*) => {
        $($(#[$doc])*
        pub fn $name(&self, name: &'static str, help: &'static str) -> $kind {
            let mut known = self.known.lock();
            if let Some(Known::$kind(series)) = known.get(name) {
                return series.clone();
            }
            let series: $kind = $make;
            self.registry.lock().register(name, help, series.clone());
            known.insert(name, Known::$kind(series.clone()));
            series
        })*
    };
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rongtong");
        let (resident, descriptors, uptime) = (FloatGauge::default(), Gauge::default(), FloatGauge::default());
        registry.register("process_resident_bytes", "Memory in use", resident.clone());
        registry.register("process_open_fds", "Open file descriptors", descriptors.clone());
        registry.register("process_uptime_seconds", "Time since the start", uptime.clone());
        Self {
            started: Instant::now(),
            registry: Mutex::new(registry),
            known: Mutex::default(),
            indicators: Mutex::default(),
            resident,
            descriptors,
            uptime,
        }
    }
}

impl Metrics {
    series! {
        /// Only goes up. The text format adds `_total` to the name.
        counter -> Counter = Counter::default();
        counters -> Counters = Counters::default();
        gauge -> Gauge = Gauge::default();
        gauges -> Gauges = Gauges::default();
        float_gauge -> FloatGauge = FloatGauge::default();
        /// With the buckets of [`SECONDS`].
        seconds -> Histogram = Histogram::new(SECONDS.iter().copied());
        /// Labelled, with the buckets of [`SECONDS`].
        seconds_by -> Histograms = Histograms::new_with_constructor(Buckets(SECONDS));
    }

    /// Adds a line to the system page; `read` is called whenever the page is asked for.
    pub fn indicator(
        &self,
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.indicators.lock().insert(name, Watched { unit, help, read: Box::new(read) });
    }

    /// The lines of the system page, with those of the process first.
    pub fn indicators(&self) -> Vec<Indicator> {
        self.read_process();
        let line = |name: &str, value, unit: &str, help: &str| Indicator {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            help: help.to_owned(),
        };
        let mut lines = vec![
            line("process_resident", self.resident.get(), "byte", "Memory in use"),
            line("process_open_fds", self.descriptors.get() as f64, "", "Open file descriptors"),
            line("process_uptime", self.uptime.get(), "s", "Time since the start"),
        ];
        for (name, watched) in self.indicators.lock().iter() {
            lines.push(line(name, (watched.read)(), watched.unit, watched.help));
        }
        lines
    }

    /// Seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// The text for Prometheus, `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn render(&self) -> String {
        self.read_process();
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        const END: &str = "# EOF\n";
        text.truncate(text.strip_suffix(END).map_or(text.len(), str::len));
        for (name, watched) in self.indicators.lock().iter() {
            // A series of the same name says it already.
            if !text.contains(&format!("# TYPE rongtong_{name} ")) {
                let (help, value) = (watched.help, (watched.read)());
                let _ = write!(
                    text,
                    "# HELP rongtong_{name} {help}.\n# TYPE rongtong_{name} gauge\nrongtong_{name} {value}\n"
                );
            }
        }
        text.push_str(END);
        text
    }

    fn read_process(&self) {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.descriptors.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status")
            && let Some(kib) = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|kib| kib.parse::<u32>().ok())
        {
            self.resident.set(f64::from(kib) * 1024.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_asked_for_twice_is_one_series() {
        let metrics = Metrics::default();
        metrics.counter("packets", "Packets").inc();
        metrics.counter("packets", "Packets").inc_by(2);
        let text = metrics.render();
        assert!(text.contains("rongtong_packets_total 3"), "{text}");
        assert_eq!(text.matches("# HELP rongtong_packets ").count(), 1);
    }

    #[test]
    fn indicators_are_rendered_once() {
        let metrics = Metrics::default();
        metrics.gauge("taken", "Taken").set(3);
        metrics.indicator("taken", "", "Taken", || 4.0);
        metrics.indicator("cameras_live", "", "Cameras that are pulled now", || 2.0);
        let text = metrics.render();
        assert!(text.contains("# TYPE rongtong_cameras_live gauge\nrongtong_cameras_live 2\n"), "{text}");
        assert!(text.contains("rongtong_taken 3\n") && !text.contains("rongtong_taken 4"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn labels_and_buckets_are_rendered() {
        let metrics = Metrics::default();
        let labels = vec![("route", "/api".to_owned())];
        metrics.seconds_by("http_request_seconds", "Time").get_or_create(&labels).observe(0.02);
        metrics.counters("http_requests", "Requests").get_or_create(&labels).inc();
        let text = metrics.render();
        assert!(text.contains("rongtong_http_requests_total{route=\"/api\"} 1"), "{text}");
        assert!(text.contains("le=\"0.025\",route=\"/api\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::default();
        metrics.indicator("rooms", "", "Open rooms", || 3.0);
        let lines = metrics.indicators();
        let value = |name| lines.iter().find(|line| line.name == name).unwrap().value;
        assert!(value("process_resident") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert_eq!(value("rooms"), 3.0);
    }
}

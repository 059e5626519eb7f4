//! What keeps a camera's session alive (RFC 2326 10.1, 10.8, 12.37), and what is learned of it.
//!
//! Cameras count OPTIONS, GET_PARAMETER, SET_PARAMETER or receiver reports, few say which, and
//! some end a session earlier than they announce. So all of them are sent, and a camera that
//! ended a session gets them three times within such a life from then on.

use super::message::Message;
use crate::reason::{Failure, Reason};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 2326 12.37.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// A connection that ends so soon after a request that was not answered, ended because of it.
const HANG_UP: Duration = Duration::from_secs(1);
/// Shorter lives are other faults.
const LEAST_LIFE: Duration = Duration::from_secs(1);

/// What was learned of one camera; held as long as the camera is known and not changed.
#[derive(Clone, Debug, Default)]
pub struct Habits(Arc<Mutex<Learned>>);

#[derive(Debug, Default)]
struct Learned {
    interval: Option<Duration>,
    /// A request that the camera answers by hanging up.
    shunned: Vec<&'static str>,
    last_life: Option<Duration>,
}

impl Habits {
    /// The camera is another one now.
    pub fn forget(&self) {
        *self.0.lock() = Learned::default();
    }
}

/// Of one session that plays.
pub(super) struct KeepAlive {
    habits: Habits,
    began: Instant,
    interval: Duration,
    due: Instant,
    /// Sent last, newest last, and whether it was answered.
    sent: Vec<(&'static str, Instant, bool)>,
    sets: bool,
}

impl KeepAlive {
    /// `timeout` as the camera announced it.
    pub fn new(habits: Habits, timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        let announced = timeout.unwrap_or(USUAL_TIMEOUT) / 3;
        let learned = habits.0.lock().interval.unwrap_or(LONGEST);
        let interval = announced.min(learned).clamp(SHORTEST, LONGEST);
        Self { habits, began: now, interval, due: now + interval, sent: Vec::new(), sets: false }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// The methods to send now.
    pub fn turn(&mut self) -> Vec<&'static str> {
        let now = Instant::now();
        self.due = now + self.interval;
        let mut methods = vec!["OPTIONS", "GET_PARAMETER"];
        if self.sets {
            methods.push("SET_PARAMETER");
        }
        {
            let learned = self.habits.0.lock();
            methods.retain(|method| !learned.shunned.contains(method));
        }
        self.sent = methods.iter().map(|method| (*method, now, false)).collect();
        methods
    }

    pub fn answered(&mut self, method: &str, answer: &Message) {
        for (_, _, answered) in self.sent.iter_mut().filter(|(sent, ..)| *sent == method) {
            *answered = true;
        }
        if let Some(public) = answer.header("Public") {
            let names = |name: &str| public.split([',', ' ']).any(|word| word.trim().eq_ignore_ascii_case(name));
            self.sets = names("SET_PARAMETER") && !names("GET_PARAMETER");
        }
    }

    /// The camera ended the connection: what is learned of it, and why it was.
    pub fn ended(&self) -> Failure {
        let life = self.began.elapsed();
        let seconds = life.as_secs_f32();
        let mut learned = self.habits.0.lock();
        let ask = self.sent.iter().rev().find(|(_, at, answered)| !answered && at.elapsed() < HANG_UP);
        if let Some((method, ..)) = ask {
            learned.shunned.push(*method);
            let detail = format!("the camera hung up on {method} after {seconds:.1} s; it is not sent again");
            return Failure::new(Reason::CutOff, detail);
        }
        let again = learned.last_life.replace(life).is_some_and(|last| last.abs_diff(life) <= life.mul_f32(0.15));
        if life < LEAST_LIFE {
            return Failure::new(Reason::Closed, "the camera ended the session");
        }
        learned.shunned.clear();
        learned.interval = Some((life / 3).min(learned.interval.unwrap_or(LONGEST)).max(SHORTEST));
        let reason = if again { Reason::CutOff } else { Reason::Closed };
        let every = self.interval.as_secs_f32();
        let detail = format!("the camera ended the session after {seconds:.1} s; keep-alives went every {every:.1} s");
        Failure::new(reason, detail)
    }
}

/// Id and time limit of a header `Session`, whatever its order, case and blanks.
pub(super) fn session(value: &str) -> (&str, Option<Duration>) {
    let mut parts = value.split([';', ',']);
    let id = parts.next().unwrap_or_default().trim();
    let timeout = parts.filter_map(|part| part.split_once(['=', ':'])).find_map(|(name, value)| {
        let digits = value.trim_matches(|c: char| !c.is_ascii_digit());
        let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("timeout").then(|| digits.parse::<u32>().ok()).flatten()
    });
    (id, timeout.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_limits_are_read_as_they_come() {
        let said = |value| session(value).1.map(|timeout| timeout.as_secs());
        for value in ["1;timeout=20", "1; Timeout = 20", "1;x;timeout=\"20\"", "1;timeout=20s", "1;timeout:20.5"] {
            assert_eq!((session(value).0, said(value)), ("1", Some(20)), "{value}");
        }
        for value in ["1", "1;timeout=", "1;timeout=0", "1;timeout=99999999999", ";"] {
            assert_eq!(said(value), None, "{value}");
        }
    }

    #[test]
    fn what_ended_sessions_twice_is_told_and_sent_for_more_often() {
        let habits = Habits::default();
        let session = |life| {
            let mut session = KeepAlive::new(habits.clone(), None);
            session.began = Instant::now().checked_sub(Duration::from_secs(life)).unwrap();
            session
        };
        assert_eq!(session(12).ended().reason, Reason::Closed);
        assert_eq!(session(0).interval.as_millis() / 100, 40);
        assert_eq!(session(12).ended().reason, Reason::CutOff);
        let mut hung_up = session(3);
        assert_eq!(hung_up.turn(), ["OPTIONS", "GET_PARAMETER"]);
        hung_up.answered("OPTIONS", &Message::new("RTSP/1.0 200 OK"));
        assert!(hung_up.ended().detail.contains("GET_PARAMETER"));
        assert_eq!(session(0).turn(), ["OPTIONS"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_header_is_survived(value in "[a-z0-9]{0,8}(;timeout=|; ?|,)\\PC{0,30}") {
            let (id, timeout) = session(&value);
            prop_assert!(!id.contains(';') && timeout.is_none_or(|timeout| !timeout.is_zero()));
        }
    }
}

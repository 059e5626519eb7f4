//! Pushes as cameras: addresses `push://<id>`.

use super::channel::Reader;
use super::{ID_LENGTH, Pushes};
use rongtong_media_core::device::{Answer, DeviceFailure, DeviceItem, DeviceReason, DeviceSession, Opener};
use std::sync::Arc;
use std::time::Duration;

/// A publisher is waited for so long.
const PUBLISHER_WITHIN: Duration = Duration::from_secs(3);

/// The pushes, for whoever opens by address.
pub struct Opening(pub Arc<Pushes>);

/// The identifier in an address.
fn id(address: &str) -> Option<&str> {
    let (scheme, rest) = address.trim().split_once("://")?;
    let id = rest.strip_suffix('/').unwrap_or(rest);
    let is_id = id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (scheme.eq_ignore_ascii_case("push") && is_id).then_some(id)
}

impl Opener for Opening {
    fn scheme(&self) -> &'static str {
        "push"
    }

    fn tidy(&self, address: &str) -> Option<String> {
        id(address).filter(|id| self.0.knows(id)).map(|id| format!("push://{id}"))
    }

    fn open<'a>(&'a self, address: &'a str) -> Answer<'a, Box<dyn DeviceSession>> {
        Box::pin(async move {
            let mut live = id(address)
                .and_then(|id| self.0.watch(id))
                .ok_or_else(|| failure(DeviceReason::NotFound, "there is no such push"))?;
            let come = tokio::time::timeout(PUBLISHER_WITHIN, live.wait_for(Option::is_some)).await;
            let channel = come.ok().and_then(|live| live.ok()?.clone());
            let channel = channel.ok_or_else(|| failure(DeviceReason::Offline, "nobody is pushing"))?;
            Ok(Box::new(Session(channel.read())) as Box<dyn DeviceSession>)
        })
    }
}

struct Session(Reader);

impl DeviceSession for Session {
    fn receive<'a>(&'a mut self, out: &'a mut Vec<DeviceItem>) -> Answer<'a, ()> {
        Box::pin(async move {
            if self.0.receive(out).await { Ok(()) } else { Err(failure(DeviceReason::Ended, "the publisher ended it")) }
        })
    }
}

fn failure(reason: DeviceReason, detail: &str) -> DeviceFailure {
    DeviceFailure { reason, detail: detail.to_owned() }
}

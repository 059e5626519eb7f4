//! What happens, told at once: server-sent events (WHATWG HTML, chapter 9.2).

use super::CameraApi;
use super::body::language;
use super::positions::of_spot;
use crate::notices::{Happening, Spot};
use crate::reason::Language;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use rongtong_platform::clock::now_ms;
use rongtong_platform::problem::{Problem, ProblemDetails, Query, said};
use rongtong_platform::store::alarms::AlarmRow;
use rongtong_platform::web::{Permission, Principal};
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// A stream ends after so long and is asked for anew, so that nobody listens whose session is over.
const LONGEST: Duration = Duration::from_secs(600);
/// Moves of one device are told at most so often.
const MOVES_EVERY: Duration = Duration::from_secs(1);
const ALIVE_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListenQuery {
    /// Of the alarms' texts; that of the request unless told, which browsers' event sources can't choose.
    #[param(inline)]
    language: Option<ListenLanguage>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ListenLanguage {
    Zh,
    En,
}

impl From<ListenLanguage> for Language {
    fn from(language: ListenLanguage) -> Self {
        match language {
            ListenLanguage::Zh => Self::Chinese,
            ListenLanguage::En => Self::English,
        }
    }
}

struct Listener {
    api: Arc<CameraApi>,
    language: Language,
    happenings: broadcast::Receiver<Happening>,
    ended: watch::Receiver<bool>,
    until: Instant,
    waiting: VecDeque<Event>,
    /// Moves since the last were told, by device and channel.
    moved: BTreeMap<(String, Option<String>), Arc<Spot>>,
    moves_at: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            let happening = tokio::select! {
                _ = self.ended.changed() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.moves_at), if !self.moved.is_empty() => None,
                happening = self.happenings.recv() => Some(happening),
            };
            match happening {
                None => self.tell_moves().await,
                Some(Ok(Happening::Alarm(row))) => self.tell_alarm("alarm", &row).await,
                Some(Ok(Happening::AlarmChanged(row))) => self.tell_alarm("alarm_changed", &row).await,
                Some(Ok(Happening::Moved(spot))) => {
                    self.moved.insert((spot.device.clone(), spot.channel.clone()), spot);
                }
                Some(Err(RecvError::Lagged(_))) => {
                    self.waiting.push_back(Event::default().event("reload").data("{}"));
                }
                Some(Err(RecvError::Closed)) => return None,
            }
        }
    }

    async fn tell_alarm(&mut self, name: &str, row: &AlarmRow) {
        match self.api.alarms(vec![row.clone()], self.language).await {
            Ok(bodies) => {
                let events = bodies.iter().filter_map(|body| Event::default().event(name).json_data(body).ok());
                self.waiting.extend(events);
            }
            Err(error) => {
                tracing::warn!(%error, "an alarm's camera could not be read");
                self.waiting.push_back(Event::default().event("reload").data("{}"));
            }
        }
    }

    async fn tell_moves(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        self.moves_at = Instant::now() + MOVES_EVERY;
        // Without them a place is told of all the same.
        let cameras = self.api.notices.cameras().await.ok();
        let (now, api) = (now_ms(), self.api.clone());
        let openers = api.cameras.openers();
        for spot in moved.into_values() {
            let camera =
                cameras.as_ref().and_then(|cameras| cameras.showing(&spot.part(), openers.has_picture(&spot.part())));
            let place = of_spot(&spot, camera, now);
            self.waiting.extend(Event::default().event("position").json_data(&place));
        }
    }
}

/// Alarms and positions as they come
///
/// `alarm` and `alarm_changed` carry an Alarm, `position` a Place; after `reload` something was missed, and the lists
/// are to be read anew, as after every (re)connection. The stream ends after ten minutes at the latest.
#[utoipa::path(
    get, path = "/events", tag = "alarms", operation_id = "listen", params(ListenQuery),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn listen(
    State(api): State<Arc<CameraApi>>,
    principal: Principal,
    headers: HeaderMap,
    Query(query): Query<ListenQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    principal.require(Permission::Join)?;
    let permit = api.notices.streams().try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams")
            .detail(said("同时收听的人太多，请稍后再试。", "Too many listen at present; try again later."))
    })?;
    let left = u64::try_from(principal.expires_at.saturating_sub(now_ms())).unwrap_or_default();
    let listener = Listener {
        language: query.language.map_or_else(|| language(&headers), ListenLanguage::into),
        happenings: api.notices.listen(),
        ended: api.notices.ended(),
        until: Instant::now() + LONGEST.min(Duration::from_millis(left)),
        // Something is sent at once, so that the peer knows that it is heard.
        waiting: VecDeque::from([Event::default().comment("hello")]),
        moved: BTreeMap::new(),
        moves_at: Instant::now(),
        _permit: permit,
        api,
    };
    let stream = futures_util::stream::unfold(listener, Listener::next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)))
}

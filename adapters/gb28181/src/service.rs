//! The platform at work: the signalling's task, what is known of devices, and calls with their media.

use crate::id::Code;
use crate::mansrtsp::Steering;
use crate::media::{Item, MediaError, Receiver, Speaker, SpeechPort, Totals, listen};
use crate::messages::{CatalogChange, Channel, DeviceInfo};
use crate::notices::Named;
use crate::platform::{
    Answer, CallEnd, CallFailure, CallId, CallOrder, Carriage, Command, Device, Event, Field, Load, Order, Platform,
    QueryFailure, QueryId, Settings, What,
};
use crate::speech::Agreed;
use crate::ssrc::{Ssrc, SsrcPool};
use bytes::Bytes;
use parking_lot::Mutex;
use rongtong_media_core::ports::PortPool;
use rongtong_sip::net::{Carrier, Engine, Peer, Sockets};
use rongtong_sip::sdp::Session as Description;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Orders that wait for the signalling's task.
const MAX_ORDERS: usize = 4_096;
/// Notices that a slow listener may be behind.
const MAX_NOTICES: usize = 16_384;
/// A device that is called and whose media does not come.
pub const FIRST_PACKET_WITHIN: Duration = Duration::from_secs(10);

/// A device with all that it said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub device: Device,
    pub info: DeviceInfo,
    /// By code.
    pub channels: BTreeMap<Code, Channel>,
    /// The catalog came whole.
    pub whole: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("all 10,000 stream numbers are in use")]
    NoSsrc,
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error("the signalling has ended")]
    Ended,
}

/// Why a call brings nothing any more.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    #[error("the device ended it")]
    ByDevice,
    #[error("the device is offline")]
    Offline,
    #[error("the file is at its end")]
    FileEnd,
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error("the signalling has ended")]
    Ended,
}

enum CallNews {
    Asked(Box<Description>, SocketAddr),
    Up(Box<Description>, SocketAddr),
    Failed(CallFailure),
    Over(CallEnd),
    FileEnd,
}

#[derive(Default)]
struct State {
    devices: HashMap<Code, Known>,
    queries: HashMap<QueryId, oneshot::Sender<Result<Answer, QueryFailure>>>,
    calls: HashMap<CallId, mpsc::UnboundedSender<CallNews>>,
    load: Option<Load>,
    /// That devices granted.
    subscriptions: usize,
}

/// What the signalling's task and others share.
struct Shared {
    state: Mutex<State>,
    notices: broadcast::Sender<Arc<Event>>,
}

impl Shared {
    /// Never waits.
    fn take(&self, event: Event) {
        let mut state = self.state.lock();
        match event {
            Event::Answered { id, answer } => {
                if let Some(waiting) = state.queries.remove(&id) {
                    let _ = waiting.send(Ok(answer));
                }
                return;
            }
            Event::NotAnswered { id, failure } => {
                if let Some(waiting) = state.queries.remove(&id) {
                    let _ = waiting.send(Err(failure));
                }
                return;
            }
            Event::CallAsked { id, description, from } => {
                return tell(&state, id, CallNews::Asked(Box::new(description), from));
            }
            Event::CallUp { id, description, from } => {
                return tell(&state, id, CallNews::Up(Box::new(description), from));
            }
            Event::CallFailed { id, failure } => {
                tell(&state, id, CallNews::Failed(failure));
                state.calls.remove(&id);
                return;
            }
            Event::CallOver { id, end } => {
                tell(&state, id, CallNews::Over(end));
                state.calls.remove(&id);
                return;
            }
            Event::FileEnd { id } => return tell(&state, id, CallNews::FileEnd),
            _ => {}
        }
        note(&mut state, &event);
        drop(state);
        // Without a listener nobody misses it.
        let _ = self.notices.send(Arc::new(event));
    }
}

fn tell(state: &State, id: CallId, news: CallNews) {
    // At most four for each call, so that the queue needs no other bound.
    if let Some(call) = state.calls.get(&id) {
        let _ = call.send(news);
    }
}

/// Keeps what is known up to date.
fn note(state: &mut State, event: &Event) {
    match event {
        Event::Online { device } => match state.devices.get_mut(&device.code) {
            Some(known) => known.device = (**device).clone(),
            None => {
                let known = Known {
                    device: (**device).clone(),
                    info: DeviceInfo::default(),
                    channels: BTreeMap::new(),
                    whole: false,
                };
                state.devices.insert(device.code.clone(), known);
            }
        },
        Event::Offline { code, .. } => {
            if let Some(known) = state.devices.get_mut(code) {
                known.device.online = false;
            }
        }
        Event::Described { code, info } => {
            if let Some(known) = state.devices.get_mut(code) {
                known.info = info.clone();
            }
        }
        Event::Catalog { code, channels, whole } => {
            if let Some(known) = state.devices.get_mut(code) {
                let fresh = channels.iter().map(|channel| (channel.code.clone(), channel.clone()));
                if *whole {
                    known.channels = fresh.collect();
                } else {
                    known.channels.extend(fresh);
                }
                known.whole = *whole;
            }
        }
        Event::CatalogChanged { code, changes } => {
            let Some(known) = state.devices.get_mut(code) else { return };
            for change in changes {
                match change {
                    CatalogChange::Online(channel, online) => {
                        if let Some(channel) = known.channels.get_mut(channel) {
                            channel.online = *online;
                        }
                    }
                    CatalogChange::Removed(channel) => {
                        known.channels.remove(channel);
                    }
                    CatalogChange::Put(channel) => {
                        known.channels.insert(channel.code.clone(), (**channel).clone());
                    }
                }
            }
        }
        _ => {}
    }
}

/// The engine, with its events handed on after each step.
struct Driven {
    platform: Platform,
    shared: Arc<Shared>,
    subscriptions: usize,
}

impl Driven {
    fn hand_on(&mut self) {
        let subscriptions = self.platform.subscribed_to();
        if subscriptions != self.subscriptions {
            self.subscriptions = subscriptions;
            self.shared.state.lock().subscriptions = subscriptions;
        }
        while let Some(event) = self.platform.poll_event() {
            self.shared.take(event);
        }
    }
}

impl Engine for Driven {
    type Command = Order;

    fn receive(&mut self, now: Instant, peer: Peer, bytes: &[u8]) {
        self.platform.receive(now, peer, bytes);
        self.hand_on();
    }

    fn closed(&mut self, now: Instant, carrier: Carrier) {
        self.platform.closed(now, carrier);
        self.hand_on();
    }

    fn command(&mut self, now: Instant, order: Order) {
        self.platform.command(now, order);
        self.hand_on();
    }

    fn tick(&mut self, now: Instant) {
        self.platform.tick(now);
        self.hand_on();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.platform.next_deadline()
    }

    fn poll_send(&mut self) -> Option<(Peer, Bytes)> {
        self.platform.poll_send()
    }

    fn is_over(&self) -> bool {
        self.platform.is_over()
    }
}

/// The way to the signalling's task.
#[derive(Clone)]
struct Line {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    next: Arc<AtomicU64>,
}

impl Line {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(&self, id: QueryId, order: Order) -> Result<Answer, QueryFailure> {
        let (sender, answer) = oneshot::channel();
        self.shared.state.lock().queries.insert(id, sender);
        if self.orders.send(order).await.is_err() {
            self.shared.state.lock().queries.remove(&id);
            return Err(QueryFailure::Unsent);
        }
        answer.await.unwrap_or(Err(QueryFailure::Unsent))
    }
}

/// A platform that runs. Share it by `Arc`.
pub struct Gb28181 {
    line: Line,
    ports: Arc<PortPool>,
    ssrcs: Arc<SsrcPool>,
    media: Arc<Totals>,
    /// Minutes east of Greenwich of the devices' clocks.
    utc_offset: i16,
    local: SocketAddr,
    /// By which way devices were last spoken to.
    ways: Mutex<HashMap<Code, &'static str>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Gb28181 {
    /// Starts the signalling on sockets that are bound.
    pub fn start(settings: Settings, sockets: Sockets, ports: Arc<PortPool>) -> io::Result<Arc<Self>> {
        let local = sockets.local_addr()?;
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        let shared = Arc::new(Shared { state: Mutex::default(), notices: broadcast::channel(MAX_NOTICES).0 });
        let ssrcs = SsrcPool::new(&settings.domain);
        let utc_offset = settings.utc_offset;
        let platform = Platform::new(settings, tokio::time::Instant::now().into_std(), SystemTime::now());
        let driven = Driven { platform, shared: shared.clone(), subscriptions: 0 };
        let of_task = shared.clone();
        let task = tokio::spawn(async move {
            let driven = sockets.run(driven, receiver).await;
            of_task.state.lock().load = Some(driven.platform.load());
        });
        Ok(Arc::new(Self {
            line: Line { orders, shared, next: Arc::new(AtomicU64::new(1)) },
            ports,
            ssrcs,
            media: Arc::default(),
            utc_offset,
            local,
            ways: Mutex::default(),
            task: Mutex::new(Some(task)),
        }))
    }

    /// Where devices reach it.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Minutes east of Greenwich of the devices' clocks.
    pub fn utc_offset(&self) -> i16 {
        self.utc_offset
    }

    /// Alarms, positions, changes: everything that is not the answer to something.
    pub fn notices(&self) -> broadcast::Receiver<Arc<Event>> {
        self.line.shared.notices.subscribe()
    }

    pub fn device(&self, code: &Code) -> Option<Known> {
        self.line.shared.state.lock().devices.get(code).cloned()
    }

    /// What a device and a part of it are called: by themselves, and by their codes where they say nothing.
    pub(crate) fn names(&self, device: &Code, part: Option<&Code>) -> (String, Option<Named>) {
        let state = self.line.shared.state.lock();
        let known = state.devices.get(device);
        let name = known.map(|known| known.info.name.clone()).filter(|name| !name.is_empty());
        let part = part.map(|code| {
            let channel = known.and_then(|known| known.channels.get(code));
            let name = channel.map(|channel| channel.name.clone()).filter(|name| !name.is_empty());
            let mobile_type = channel.and_then(|channel| channel.mobile_type);
            Named { code: code.clone(), name: name.unwrap_or_else(|| code.to_string()), mobile_type }
        });
        (name.unwrap_or_else(|| device.to_string()), part)
    }

    /// Something of each device; `read` is called under the lock that the signalling takes, so it must be short.
    pub fn of_each<T>(&self, read: impl Fn(&Known) -> T) -> Vec<T> {
        self.line.shared.state.lock().devices.values().map(read).collect()
    }

    /// Devices of former days, which are listed until they come back.
    pub(crate) fn recall(&self, devices: Vec<Known>) {
        let mut state = self.line.shared.state.lock();
        for known in devices {
            state.devices.entry(known.device.code.clone()).or_insert(known);
        }
    }

    /// A device has to register anew; `wholly` also forgets what it said of itself.
    pub async fn forget(&self, device: &Code, wholly: bool) {
        let _ = self.line.orders.send(Order::Forget { device: device.clone() }).await;
        if wholly {
            self.line.shared.state.lock().devices.remove(device);
        }
    }

    pub fn online(&self) -> usize {
        self.line.shared.state.lock().devices.values().filter(|known| known.device.online).count()
    }

    /// Subscriptions that devices granted.
    pub fn subscriptions(&self) -> usize {
        self.line.shared.state.lock().subscriptions
    }

    /// Channels of all devices, folders among them.
    pub fn channels(&self) -> usize {
        self.line.shared.state.lock().devices.values().map(|known| known.channels.len()).sum()
    }

    /// What all calls received.
    pub fn media(&self) -> &Totals {
        &self.media
    }

    /// Calls that somebody holds.
    pub fn calls(&self) -> usize {
        self.line.shared.state.lock().calls.len()
    }

    /// Asks a device, about itself or one of its channels.
    pub async fn query(
        &self,
        device: &Code,
        target: &Code,
        command: &'static str,
        fields: Vec<(String, String)>,
    ) -> Result<Answer, QueryFailure> {
        let id = QueryId(self.line.number());
        let order = Order::Query { id, device: device.clone(), target: target.clone(), command, fields };
        self.line.ask(id, order).await
    }

    /// Tells a device to do something; `answered` where the standard has it say what came of it.
    pub async fn control(
        &self,
        device: &Code,
        target: &Code,
        command: Command,
        fields: Vec<Field>,
        answered: bool,
    ) -> Result<Answer, QueryFailure> {
        let id = QueryId(self.line.number());
        let (device, target) = (device.clone(), target.clone());
        let order = Order::Control { id, device, target, command, fields, answered };
        self.line.ask(id, order).await
    }

    /// Asks for the catalog anew; it comes as a notice.
    pub async fn refresh(&self, device: &Code) {
        let _ = self.line.orders.send(Order::Refresh { device: device.clone() }).await;
    }

    /// Calls a channel; its media is there once this returns.
    pub async fn open(
        &self,
        device: &Code,
        channel: &Code,
        what: What,
        carriage: Carriage,
    ) -> Result<Session, OpenError> {
        let ssrc = self.ssrcs.take(what.is_history()).ok_or(OpenError::NoSsrc)?;
        let mut receiver = listen(&self.ports, carriage, ssrc.value(), self.media.clone())?;
        let id = CallId(self.line.number());
        let (sender, mut news) = mpsc::unbounded_channel();
        self.line.shared.state.lock().calls.insert(id, sender);
        let hang_up = HangUp { id, line: self.line.clone() };
        let order = CallOrder {
            device: device.clone(),
            channel: channel.clone(),
            what,
            carriage,
            port: receiver.port(),
            ssrc: ssrc.as_str().to_owned(),
        };
        self.line.orders.send(Order::Call { id, order: Box::new(order) }).await.map_err(|_| OpenError::Ended)?;
        loop {
            match news.recv().await.ok_or(OpenError::Ended)? {
                CallNews::Up(description, from) => {
                    receiver.answered(&description, from).await?;
                    return Ok(Session { receiver, news, hang_up, _ssrc: ssrc });
                }
                CallNews::Failed(failure) => return Err(failure.into()),
                CallNews::Over(_) => return Err(OpenError::Ended),
                CallNews::FileEnd | CallNews::Asked(..) => {}
            }
        }
    }

    pub(crate) fn way_of(&self, device: &Code) -> Option<&'static str> {
        self.ways.lock().get(device).copied()
    }

    pub(crate) fn note_way(&self, device: &Code, way: &'static str) {
        self.ways.lock().insert(device.clone(), way);
    }

    /// Opens the way to a channel's loudspeaker: by [`What::Talk`], carried as it is wished, or by
    /// [`What::Broadcast`], where the device says how it is carried.
    pub async fn speak(
        &self,
        device: &Code,
        channel: &Code,
        what: What,
        carriage: Carriage,
    ) -> Result<Speech, OpenError> {
        let ssrc = self.ssrcs.take(false).ok_or(OpenError::NoSsrc)?;
        let mut port = match what {
            What::Talk => Some(SpeechPort::open(&self.ports, carriage)?),
            _ => None,
        };
        let id = CallId(self.line.number());
        let (sender, mut news) = mpsc::unbounded_channel();
        self.line.shared.state.lock().calls.insert(id, sender);
        let hang_up = HangUp { id, line: self.line.clone() };
        let order = CallOrder {
            device: device.clone(),
            channel: channel.clone(),
            what,
            carriage,
            port: port.as_ref().map_or(0, SpeechPort::number),
            ssrc: ssrc.as_str().to_owned(),
        };
        self.line.orders.send(Order::Call { id, order: Box::new(order) }).await.map_err(|_| OpenError::Ended)?;
        loop {
            match news.recv().await.ok_or(OpenError::Ended)? {
                CallNews::Asked(description, from) => {
                    let agreed = Agreed::read(&description, from).ok_or(CallFailure::NoForm)?;
                    let opened = SpeechPort::open(&self.ports, agreed.carriage);
                    let number = opened.as_ref().ok().map(SpeechPort::number);
                    let answer = Order::AnswerCall { call: id, port: number };
                    self.line.orders.send(answer).await.map_err(|_| OpenError::Ended)?;
                    port = Some(opened?);
                }
                CallNews::Up(description, from) => {
                    let mut agreed = Agreed::read(&description, from).ok_or(CallFailure::NoForm)?;
                    if what == What::Talk {
                        // Of an answer over TCP not everybody says who connects.
                        agreed.carriage = carriage;
                    }
                    let port = port.take().ok_or(OpenError::Ended)?;
                    let number = ssrc.value().unwrap_or_default();
                    let speaker = Speaker::begin(port, agreed, number).await?;
                    return Ok(Speech { speaker, news, _hang_up: hang_up, _ssrc: ssrc });
                }
                CallNews::Failed(failure) => return Err(failure.into()),
                CallNews::Over(_) => return Err(OpenError::Ended),
                CallNews::FileEnd => {}
            }
        }
    }

    /// Ends the signalling, and says what was left over. Calls should have ended before.
    pub async fn end(&self) -> Option<Load> {
        let task = self.task.lock().take();
        let _ = self.line.orders.send(Order::End).await;
        if let Some(task) = task {
            let _ = tokio::time::timeout(Duration::from_secs(3), task).await;
        }
        self.line.shared.state.lock().load
    }
}

/// Ends the call when it is dropped.
struct HangUp {
    id: CallId,
    line: Line,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if self.line.shared.state.lock().calls.remove(&self.id).is_none() {
            // It is over already.
            return;
        }
        let order = Order::HangUp { call: self.id };
        if let Err(mpsc::error::TrySendError::Full(order)) = self.line.orders.try_send(order)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let orders = self.line.orders.clone();
            runtime.spawn(async move {
                let _ = orders.send(order).await;
            });
        }
    }
}

/// A call that is up. Dropping it hangs up.
pub struct Session {
    receiver: Receiver,
    news: mpsc::UnboundedReceiver<CallNews>,
    hang_up: HangUp,
    _ssrc: Ssrc,
}

impl Session {
    /// Waits until something came, and appends it. Cancel-safe.
    pub async fn receive(&mut self, out: &mut Vec<Item>) -> Result<(), SessionEnd> {
        tokio::select! {
            biased;
            news = self.news.recv() => match news {
                None => Err(SessionEnd::Ended),
                Some(CallNews::Over(CallEnd::Offline)) => Err(SessionEnd::Offline),
                Some(CallNews::Over(_) | CallNews::Failed(_)) => Err(SessionEnd::ByDevice),
                Some(CallNews::FileEnd) => Err(SessionEnd::FileEnd),
                Some(CallNews::Up(..) | CallNews::Asked(..)) => Ok(()),
            },
            received = self.receiver.receive(out) => Ok(received?),
        }
    }

    pub fn counts(&self) -> crate::media::Counts {
        self.receiver.counts()
    }

    /// How often its pictures went on from elsewhere in time.
    pub fn jumps(&self) -> u32 {
        self.receiver.jumps()
    }

    /// By which the recording that it plays is steered.
    pub fn steer(&self) -> Steer {
        Steer { call: self.hang_up.id, line: self.hang_up.line.clone() }
    }
}

/// A way to a loudspeaker that is open. Dropping it hangs up.
pub struct Speech {
    speaker: Speaker,
    news: mpsc::UnboundedReceiver<CallNews>,
    _hang_up: HangUp,
    _ssrc: Ssrc,
}

impl Speech {
    /// Sends A-law of 8 kHz, as it comes, until there is no more; an error where the device ended it, or can't be
    /// reached any more.
    pub async fn run(&mut self, frames: &mut mpsc::Receiver<Bytes>) -> Result<(), SessionEnd> {
        loop {
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => self.speaker.say(&frame).await.map_err(MediaError::Io)?,
                    None => return Ok(()),
                },
                news = self.news.recv() => match news {
                    Some(CallNews::Over(CallEnd::Offline)) => return Err(SessionEnd::Offline),
                    Some(CallNews::Over(_) | CallNews::Failed(_)) => return Err(SessionEnd::ByDevice),
                    Some(_) => {}
                    None => return Err(SessionEnd::Ended),
                },
            }
        }
    }
}

/// Tells a device that plays a recording how to.
#[derive(Clone)]
pub struct Steer {
    call: CallId,
    line: Line,
}

impl Steer {
    /// The device took it, which does not mean that it does it.
    pub async fn tell(&self, steering: Steering) -> Result<(), QueryFailure> {
        let id = QueryId(self.line.number());
        self.line.ask(id, Order::Steer { id, call: self.call, steering }).await.map(|_| ())
    }
}

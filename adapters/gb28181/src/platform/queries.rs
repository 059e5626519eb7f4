//! Questions and controls: a MESSAGE out, its answer another MESSAGE with the same SN, in one page or many.

use super::{Command, Device, Event, Field, Platform, Purpose};
use crate::id::Code;
use crate::messages::{Alarm, DeviceInfo, Page, Position, catalog_changes, channels};
use crate::xml::{Body, Charset, Element};
use rongtong_sip::message::{Heads, Method, Request};
use rongtong_sip::net::Peer;
use rongtong_sip::transaction::{Failure, ServerId};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Given by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// What a device said to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The first page, with all items of all pages taken out.
    pub root: Element,
    /// Items of its list, as they came; those that came twice once.
    pub items: Vec<Element>,
    /// All that it said there are came.
    pub whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryFailure {
    #[error("the device is not here")]
    Offline,
    #[error("the device refused with {0}")]
    Refused(u16),
    #[error("the device did not take the question")]
    Unsent,
    #[error("the device took the question and did not answer")]
    Unanswered,
}

#[derive(Debug)]
pub(super) struct Query {
    /// `None` for the platform's own curiosity.
    id: Option<QueryId>,
    device: Code,
    command: String,
    pub deadline: Instant,
    /// A control that is done once it was taken.
    done_when_taken: bool,
    root: Option<Element>,
    items: Vec<Element>,
    known: HashSet<String>,
    total: Option<usize>,
}

/// Items of one answer; a catalog of 10,000 channels is an everyday thing, a million is an attack.
const MAX_ITEMS: usize = 50_000;
/// After a page the next must come within so long; else those that came are all.
const NEXT_PAGE: Duration = Duration::from_secs(5);
/// What came of an order is said within so long, or not at all.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3);
/// Questions under way.
const MAX_QUERIES: usize = 20_000;

impl Platform {
    /// What a device is, and what channels it has.
    pub(super) fn ask_all(&mut self, now: Instant, code: &Code) {
        for command in ["DeviceInfo", "Catalog"] {
            self.query(now, None, code, code, command, &[]);
        }
    }

    pub(super) fn query(
        &mut self,
        now: Instant,
        id: Option<QueryId>,
        device: &Code,
        target: &Code,
        command: &str,
        fields: &[(String, String)],
    ) {
        let fields: Vec<Field> = fields.iter().map(|(name, text)| Field::text(name, text)).collect();
        self.ask(now, id, device, "Query", (target, command, &fields), false);
    }

    pub(super) fn control(
        &mut self,
        now: Instant,
        id: QueryId,
        device: &Code,
        (target, command, fields): (&Code, Command, &[Field]),
        answered: bool,
    ) {
        self.ask(now, Some(id), device, "Control", (target, command.as_str(), fields), !answered);
    }

    fn ask(
        &mut self,
        now: Instant,
        id: Option<QueryId>,
        device: &Code,
        root: &'static str,
        (target, command, fields): (&Code, &str, &[Field]),
        done_when_taken: bool,
    ) {
        let Some(known) = self.devices.get(device).filter(|device| device.online) else {
            return self.not_answered(id, QueryFailure::Offline);
        };
        if self.queries.len() >= MAX_QUERIES {
            return self.not_answered(id, QueryFailure::Unsent);
        }
        self.sn = self.sn.wrapping_add(1);
        let sn = self.sn;
        let mut body = Body::new(root, command, sn, target.as_str());
        for field in fields {
            match field {
                Field::Text(name, text) => body.push(name, text),
                Field::Group(name, fields) => {
                    body.open(name);
                    fields.iter().for_each(|(name, text)| body.push(name, text));
                    body.close(name);
                }
            }
        }
        let (body, peer) = (body.encode(known.charset), known.peer);
        let Some(mut request) = self.outgoing(Method::Message, known, device) else {
            return self.not_answered(id, QueryFailure::Unsent);
        };
        request.add("Content-Type", "Application/MANSCDP+xml");
        request.body = body;
        let client = self.sip.request(now, peer, request);
        self.purposes.insert(client, Purpose::Query(sn));
        let query = Query {
            id,
            device: device.clone(),
            command: command.to_owned(),
            // The transaction alone may take 32 s; a device that does not even say 200 by then is told apart.
            deadline: now + Duration::from_secs(33),
            done_when_taken,
            root: None,
            items: Vec::new(),
            known: HashSet::new(),
            total: None,
        };
        self.queries.insert(sn, query);
    }

    pub(super) fn not_answered(&mut self, id: Option<QueryId>, failure: QueryFailure) {
        if let Some(id) = id {
            self.events.push_back(Event::NotAnswered { id, failure });
        }
    }

    /// What needs no more than to be taken was taken.
    pub(super) fn taken(&mut self, id: QueryId) {
        let answer = Answer { root: Element::default(), items: Vec::new(), whole: true };
        self.events.push_back(Event::Answered { id, answer });
    }

    pub(super) fn query_refused(&mut self, sn: u32, code: u16) {
        if let Some(query) = self.queries.remove(&sn) {
            self.not_answered(query.id, QueryFailure::Refused(code));
        }
    }

    pub(super) fn query_unsent(&mut self, sn: u32, failure: Failure) {
        tracing::debug!(?failure, "a question could not be sent");
        if let Some(query) = self.queries.remove(&sn) {
            self.not_answered(query.id, QueryFailure::Unsent);
        }
    }

    /// The device has the question, and said so.
    pub(super) fn query_taken(&mut self, now: Instant, sn: u32) {
        let Some(query) = self.queries.get_mut(&sn) else { return };
        if query.done_when_taken
            && let Some(query) = self.queries.remove(&sn)
            && let Some(id) = query.id
        {
            self.taken(id);
        } else if let Some(query) = self.queries.get_mut(&sn).filter(|query| query.root.is_none()) {
            // Many devices do what they are told and never say so.
            let is_order = [Command::Control, Command::Config].iter().any(|command| command.as_str() == query.command);
            query.deadline = now + if is_order { CONFIRMED_WITHIN } else { self.settings.answer_within };
        }
    }

    pub(super) fn end_queries(&mut self, now: Instant) {
        let over = self.queries.iter().filter(|(_, query)| query.deadline <= now);
        for sn in over.map(|(sn, _)| *sn).collect::<Vec<_>>() {
            self.end_query(now, sn);
        }
    }

    /// With what came.
    fn end_query(&mut self, now: Instant, sn: u32) {
        let Some(query) = self.queries.remove(&sn) else { return };
        let Some(root) = query.root else {
            return self.not_answered(query.id, QueryFailure::Unanswered);
        };
        let whole = query.total.is_none_or(|total| query.items.len() >= total);
        if query.command == "Catalog" {
            let channels = channels(&query.items);
            self.subscribe_to_positions(now, &query.device, &channels);
            self.events.push_back(Event::Catalog { code: query.device.clone(), channels, whole });
        } else if query.command == "DeviceInfo" {
            self.events.push_back(Event::Described { code: query.device.clone(), info: DeviceInfo::read(&root) });
        }
        if let Some(id) = query.id {
            self.events.push_back(Event::Answered { id, answer: Answer { root, items: query.items, whole } });
        }
    }

    /// A body from a device: MESSAGE or NOTIFY, which some mix up.
    pub(super) fn message(&mut self, now: Instant, id: ServerId, peer: Peer, request: Request) {
        let from = request.sender().user().to_owned();
        let parsed = Element::parse(&request.body);
        let named = parsed.as_ref().ok().and_then(|root| root.get("DeviceID")).unwrap_or_default();
        // Of Hikvision's notices the sender is not always the device.
        let codes: Vec<Code> = [from.as_str(), named].into_iter().filter_map(|text| Code::new(text).ok()).collect();
        let Some(code) = codes.iter().find(|code| self.devices.get(code).is_some_and(|device| device.online)).cloned()
        else {
            let heard = self.hearing.time(now);
            let silent = codes.first().and_then(|code| self.devices.get_mut(code));
            if let Some(device) = silent.filter(|device| device.peer == peer && device.until > now) {
                device.sign_of_the_silent(heard);
            }
            // So that it registers again.
            return self.answer(now, id, &request, 403);
        };
        let heard = self.hearing.time(now);
        let follow = self.settings.follow_address;
        let Some(device) = self.devices.get_mut(&code) else { return };
        if device.peer != peer {
            if !follow && device.peer.addr.ip() != peer.addr.ip() {
                return self.answer(now, id, &request, 403);
            }
            device.peer = peer;
        }
        device.heard = heard;
        let root = match parsed {
            Ok(root) => root,
            Err(error) => {
                tracing::debug!(device = %code, %error, "a body was not understood");
                return self.answer(now, id, &request, 400);
            }
        };
        note_charset(device, &request.body);
        if root.get("CmdType").is_some_and(|command| command.eq_ignore_ascii_case("Keepalive")) {
            device.sign(heard);
            return self.answer(now, id, &request, 200);
        }
        self.answer(now, id, &request, 200);
        match root.name.as_str() {
            "Response" => self.page(now, &code, root),
            _ => self.notice(now, &code, &request, root),
        }
    }

    /// An answer, or a part of one.
    fn page(&mut self, now: Instant, code: &Code, mut root: Element) {
        let Some(sn) = root.number::<u32>("SN") else { return };
        if self.broadcast_answered(now, code, sn, &root) {
            return;
        }
        let command = root.get("CmdType").unwrap_or_default().to_owned();
        let is_its = |query: &Query| query.device == *code && query.command.eq_ignore_ascii_case(&command);
        let Some(query) = self.queries.get_mut(&sn).filter(|query| is_its(query)) else { return };
        let list = ["DeviceList", "RecordList", "PresetList", "Alarmstatus"]
            .into_iter()
            .find(|list| root.child(list).is_some());
        let page = Page::read(&root, list.unwrap_or("DeviceList"));
        if let Some(list) = list {
            root.children.retain(|child| !child.name.eq_ignore_ascii_case(list));
        }
        query.total = page.total.or(query.total);
        for item in page.items {
            if query.items.len() < MAX_ITEMS && query.known.insert(fingerprint(&item)) {
                query.items.push(item);
            }
        }
        query.root.get_or_insert(root);
        // Only of those that have pages is there anything to wait for.
        let paged = matches!(query.command.as_str(), "Catalog" | "RecordInfo");
        let complete = match query.total {
            Some(total) => query.items.len() >= total,
            None => !paged,
        };
        if !paged || complete {
            self.end_query(now, sn);
        } else {
            query.deadline = now + NEXT_PAGE;
        }
    }

    /// What a device says of its own accord.
    fn notice(&mut self, now: Instant, code: &Code, request: &Request, root: Element) {
        let device = code.clone();
        match root.get("CmdType").unwrap_or_default() {
            "Alarm" => {
                let sn = root.number::<u32>("SN").unwrap_or(0);
                self.acknowledge_alarm(now, code, sn, root.get("DeviceID").unwrap_or(code.as_str()));
                self.events.push_back(Event::Alarm { device, alarm: Alarm::read(&root) });
            }
            "MobilePosition" => {
                let positions = Position::read_all(&root);
                self.events.push_back(Event::Position { device, positions });
            }
            "Catalog" => {
                let changes = catalog_changes(&Page::read(&root, "DeviceList").items);
                self.events.push_back(Event::CatalogChanged { code: device, changes });
            }
            "MediaStatus" => {
                // The Call-ID is that of the call with some, and with others only the channel tells.
                let by_call = self.dialogs.get(request.call_id()).copied();
                let channel = root.get("DeviceID").unwrap_or_default();
                if let Some(id) = by_call.or_else(|| self.history_call_of(code, channel)) {
                    self.events.push_back(Event::FileEnd { id });
                }
            }
            _ => self.events.push_back(Event::Notice { device, root }),
        }
    }

    /// The platform's `Response` to an alarm (GB/T 28181 9.4).
    fn acknowledge_alarm(&mut self, now: Instant, code: &Code, sn: u32, target: &str) {
        let Some(device) = self.devices.get(code) else { return };
        let mut body = Body::new("Response", "Alarm", sn, target);
        body.push("Result", "OK");
        let (body, peer) = (body.encode(device.charset), device.peer);
        if let Some(mut request) = self.outgoing(Method::Message, device, code) {
            request.add("Content-Type", "Application/MANSCDP+xml");
            request.body = body;
            self.sip.request(now, peer, request);
        }
    }
}

/// What tells an item from others.
fn fingerprint(item: &Element) -> String {
    let fields = ["DeviceID", "PresetID", "StartTime", "EndTime", "FilePath", "Name"];
    fields.iter().map(|name| item.get(name).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn note_charset(device: &mut Device, body: &[u8]) {
    let head = &body[..body.len().min(100)];
    if memchr::memmem::find(head, b"encoding=").is_some() {
        let upper = head.to_ascii_uppercase();
        let utf8 = memchr::memmem::find(&upper, b"UTF-8").is_some();
        device.charset = if utf8 { Charset::Utf8 } else { Charset::Gb18030 };
    }
}

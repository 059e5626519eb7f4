//! Who receives what: one question asked in one place, and its answer withdrawn as soon as it changes.
//!
//! A subscription is the room's: it is made by [`Room::subscribe`] or [`Room::tap`] after
//! [`State::may_subscribe`] said yes, and it ends with its track, its subscriber, or the right to
//! it. The shard forwards for subscriptions the room has made and for no other, so that what has
//! ended here is not brought back by a negotiation that has not heard of it.

use super::room::{Member, Room, State};
use super::{ParticipantInfo, ParticipantKind, RoomError, RoomEvent, Tap, TrackInfo};
use crate::ids::{Identity, ParticipantSid, TrackSid};
use crate::shard::{Command, SubKey, TrackKey};
use std::sync::Arc;

/// Tracks one participant may receive at once.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// Tracks remembered for one participant that asked for them and may not have them.
const MAX_REFUSED: usize = 1024;

/// Whom a publisher lets receive its tracks. By default everybody.
///
/// Participants of kind [`ParticipantKind::Recorder`] are not bound by it, nor are services of the
/// server: what is on record is the whole meeting, and everybody is shown that it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    pub everybody: bool,
    /// Beside everybody; the first entry that names a listener is the one that holds.
    pub listed: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub listener: Listener,
    pub tracks: Tracks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    Identity(Identity),
    Sid(ParticipantSid),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracks {
    All,
    These(Vec<TrackSid>),
}

impl Default for Audience {
    fn default() -> Self {
        Self { everybody: true, listed: Vec::new() }
    }
}

impl Audience {
    fn admits(&self, listener: &ParticipantInfo, track: &TrackSid) -> bool {
        if self.everybody || listener.kind == ParticipantKind::Recorder {
            return true;
        }
        let named = self.listed.iter().find(|it| match &it.listener {
            Listener::Identity(identity) => *identity == listener.identity,
            Listener::Sid(sid) => *sid == listener.sid,
        });
        named.is_some_and(|it| match &it.tracks {
            Tracks::All => true,
            Tracks::These(tracks) => tracks.contains(track),
        })
    }
}

/// One participant's right to one track, for as long as it holds.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub track: Arc<TrackInfo>,
    pub(crate) key: TrackKey,
    pub(crate) sub: SubKey,
}

impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        self.sub == other.sub
    }
}

/// Why a subscription is over without its subscriber having asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionEnd {
    /// The publisher took its track back, or left.
    Unpublished,
    /// The subscriber's own grant.
    Revoked,
    /// The publisher's choice of its audience.
    Audience,
}

/// Who reads a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A participant: it may what its grant and the publisher's audience allow, and no longer than
    /// it is in the room.
    Participant(ParticipantSid),
    /// A part of the server, by its name (a recording, a snapshot), which these do not bind.
    Service(&'static str),
}

/// A subscription as the room keeps it.
pub(super) struct Held {
    pub subscription: Subscription,
    pub tap: bool,
}

impl Room {
    /// Makes a subscription, or finds the one there is. It carries media once a connection has a
    /// section for it. What is refused for want of a right is remembered: the subscriber hears
    /// [`RoomEvent::Subscribable`] when it may have it.
    ///
    /// # Errors
    /// [`RoomError::NoTrack`] also where the publisher is hidden; [`RoomError::NotAllowed`] by the
    /// subscriber's grant, [`RoomError::NotInAudience`] by the publisher's choice;
    /// [`RoomError::TooLarge`] beyond [`MAX_SUBSCRIPTIONS`].
    pub fn subscribe(&self, who: &ParticipantSid, track: &TrackSid) -> Result<Subscription, RoomError> {
        let mut state = self.state.lock();
        let allowed = state.may_subscribe(who, track);
        let member = state.member_mut(who)?;
        member.refused.retain(|refused| refused != track);
        let (info, key) = match allowed {
            Ok(found) => found,
            Err(error) => {
                let waits = matches!(error, RoomError::NotAllowed(_) | RoomError::NotInAudience);
                if waits && member.refused.len() < MAX_REFUSED {
                    member.refused.push(track.clone());
                }
                return Err(error);
            }
        };
        if let Some(held) = member.subscriptions().find(|held| held.track.sid == *track) {
            return Ok(held.clone());
        }
        if member.held.len() >= MAX_SUBSCRIPTIONS {
            return Err(RoomError::TooLarge("the number of subscriptions"));
        }
        let subscription = Subscription { track: info.clone(), key, sub: SubKey::next() };
        member.held.push(Held { subscription: subscription.clone(), tap: false });
        self.shard.send(Command::AddSub { track: key, sub: subscription.sub });
        if let Ok(publisher) = state.member_mut(&info.participant)
            && let Some(published) = publisher.tracks.iter_mut().find(|published| published.key == key)
            && !std::mem::replace(&mut published.was_subscribed, true)
        {
            self.tell_one(&mut state, &info.participant, RoomEvent::FirstSubscribed(track.clone()));
        }
        Ok(subscription)
    }

    /// Gives a track up, also one that was asked for and refused. Says whether there was a subscription.
    pub fn unsubscribe(&self, who: &ParticipantSid, track: &TrackSid) -> bool {
        let mut state = self.state.lock();
        let Ok(member) = state.member_mut(who) else { return false };
        member.refused.retain(|refused| refused != track);
        let mut gone = Vec::new();
        member.held.retain(|held| {
            let ends = !held.tap && held.subscription.track.sid == *track;
            if ends {
                gone.push(held.subscription.clone());
            }
            !ends
        });
        self.release(&gone);
        !gone.is_empty()
    }

    /// The tracks a participant is subscribed to, taps not counted.
    pub fn subscriptions(&self, who: &ParticipantSid) -> Vec<Subscription> {
        self.state.lock().member(who).map(|member| member.subscriptions().cloned().collect()).unwrap_or_default()
    }

    /// Replaces a publisher's choice of who receives its tracks. Those who may no longer do not from
    /// now on, and hear it; those who asked before and may now hear that.
    ///
    /// # Errors
    /// When the publisher is not in the room.
    pub fn set_audience(&self, publisher: &ParticipantSid, audience: Audience) -> Result<(), RoomError> {
        let mut state = self.state.lock();
        state.member_mut(publisher)?.audience = audience;
        self.review(&mut state);
        Ok(())
    }

    /// Packets of a track for code in this process, at most `capacity` of them waiting.
    ///
    /// # Errors
    /// As [`Self::subscribe`] for a participant; [`RoomError::NoTrack`] for a service.
    pub fn tap(self: &Arc<Self>, holder: &Holder, track: &TrackSid, capacity: usize) -> Result<Tap, RoomError> {
        let mut state = self.state.lock();
        let (info, key) = match holder {
            Holder::Participant(sid) => state.may_subscribe(sid, track)?,
            Holder::Service(_) => state.find_track(track).ok_or(RoomError::NoTrack)?,
        };
        let subscription = Subscription { track: info.clone(), key, sub: SubKey::next() };
        let held = Held { subscription: subscription.clone(), tap: true };
        match holder {
            Holder::Participant(sid) => {
                let member = state.member_mut(sid)?;
                if member.held.len() >= MAX_SUBSCRIPTIONS {
                    return Err(RoomError::TooLarge("the number of subscriptions"));
                }
                member.held.push(held);
            }
            Holder::Service(_) => state.services.push(held),
        }
        let (writer, reader) = crate::tap::ring(capacity.max(16), self.shard.bell());
        self.shard.send(Command::AddTap { track: key, sub: subscription.sub, writer });
        Ok(Tap { subscription, reader, shard: self.shard.clone(), room: Arc::downgrade(self) })
    }

    /// A tap's reader is gone.
    pub(super) fn release_tap(&self, tap: &Subscription) {
        let mut state = self.state.lock();
        let State { members, services, .. } = &mut *state;
        for held in members.iter_mut().map(|member| &mut member.held).chain(std::iter::once(services)) {
            held.retain(|held| held.subscription != *tap);
        }
        self.release(std::slice::from_ref(tap));
    }

    /// Ends what nobody has a right to any more, and tells those who may have now what they asked for.
    pub(super) fn review(&self, state: &mut State) {
        let mut news: Vec<(ParticipantSid, RoomEvent)> = Vec::new();
        let mut gone: Vec<Subscription> = Vec::new();
        for at in 0..state.members.len() {
            let Some(member) = state.members.get(at) else { break };
            let sid = member.info.sid.clone();
            let end = |error: &RoomError| match error {
                RoomError::NotInAudience => SubscriptionEnd::Audience,
                RoomError::NotAllowed(_) => SubscriptionEnd::Revoked,
                _ => SubscriptionEnd::Unpublished,
            };
            let ended: Vec<(SubKey, SubscriptionEnd)> = member
                .held
                .iter()
                .filter_map(|held| {
                    let error = state.may_subscribe(&sid, &held.subscription.track.sid).err()?;
                    Some((held.subscription.sub, end(&error)))
                })
                .collect();
            let granted: Vec<Arc<TrackInfo>> = member
                .refused
                .iter()
                .filter_map(|track| state.may_subscribe(&sid, track).ok().map(|(info, _)| info))
                .collect();
            let Some(member) = state.members.get_mut(at) else { break };
            for (sub, why) in ended {
                let Some(at) = member.held.iter().position(|held| held.subscription.sub == sub) else { continue };
                let Held { subscription, tap } = member.held.remove(at);
                gone.push(subscription.clone());
                if !tap {
                    member.refused.push(subscription.track.sid.clone());
                    news.push((sid.clone(), RoomEvent::SubscriptionEnded { subscription, why }));
                }
            }
            for track in granted {
                member.refused.retain(|refused| *refused != track.sid);
                news.push((sid.clone(), RoomEvent::Subscribable(track)));
            }
        }
        self.release(&gone);
        for (sid, event) in news {
            self.tell_one(state, &sid, event);
        }
    }

    /// The track is gone, and with it who received it.
    pub(super) fn end_subscriptions_of(&self, state: &mut State, track: &TrackSid) {
        let mut news = Vec::new();
        for member in &mut state.members {
            member.refused.retain(|refused| refused != track);
            let Member { held, info, .. } = member;
            held.retain(|held| {
                let ends = held.subscription.track.sid == *track;
                if ends && !held.tap {
                    news.push((info.sid.clone(), held.subscription.clone()));
                }
                !ends
            });
        }
        state.services.retain(|held| held.subscription.track.sid != *track);
        for (sid, subscription) in news {
            let why = SubscriptionEnd::Unpublished;
            self.tell_one(state, &sid, RoomEvent::SubscriptionEnded { subscription, why });
        }
    }

    pub(super) fn release(&self, gone: &[Subscription]) {
        for Subscription { key, sub, .. } in gone {
            self.shard.send(Command::RemoveSub { track: *key, sub: *sub });
        }
    }
}

impl State {
    /// Whether a participant may receive a track now: its own grant, the publisher's audience, and
    /// that it sees the publisher at all.
    fn may_subscribe(&self, who: &ParticipantSid, track: &TrackSid) -> Result<(Arc<TrackInfo>, TrackKey), RoomError> {
        if self.closed {
            return Err(RoomError::Closed);
        }
        let member = self.member(who)?;
        let (info, key) = self.find_track(track).ok_or(RoomError::NoTrack)?;
        let publisher = self.member(&info.participant)?;
        if publisher.info.sid == *who {
            return Err(RoomError::OwnTrack);
        }
        if publisher.info.permission.hidden {
            return Err(RoomError::NoTrack);
        }
        if !member.info.permission.can_subscribe {
            return Err(RoomError::NotAllowed("subscribe"));
        }
        if !publisher.audience.admits(&member.info, track) {
            return Err(RoomError::NotInAudience);
        }
        Ok((info, key))
    }
}

impl Member {
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.held.iter().filter(|held| !held.tap).map(|held| &held.subscription)
    }
}

//! Values on their way in: where the bytes of a command's value are, and what happens until all of them have been received. Works
//! on one session's `State::Receive` and `State::DiscardBody`.
//!
//! The session waits for a short value in the input, receives a long one into memory that is reserved for it, and skips a value
//! that cannot be stored. What a command does with its value is the business of its protocol (`text`, `meta`, `binary`). The
//! module may import the state and `staging`.

use super::progress::{Next, Owed};
use super::staging::refuse_packet;
use super::state::{DeferredReply, InputBatch, Session, State, Step};
use crate::command::{Mode, StorageRequest, Stored};
use crate::limits::{DRAFT_BYTES_MIN, RESERVATION_WAIT_MAX};
use crate::store::{Data, Reservation, Retry};
use std::time::Duration;

/// Turns of eviction, in addition to the first, that a command may spend on memory for its value before other connections are
/// served: about 100 µs.
const RESERVE_TURNS: u32 = 1;

/// Says where the bytes of a command's value are, or why the value cannot be stored.
pub(super) enum BodySource<'i> {
    /// The whole value is in the input, here with its line end if it has one.
    Here(&'i [u8]),
    /// The value is short, and not all of it is in the input. The caller must read more and run the command again from its start.
    Need,
    /// The value is long, and not all of it is in the input. The command's head has been consumed, and the state is
    /// `State::Receive`.
    Receiving,
    /// The value cannot be stored, for this reason. The caller must skip the value and then send an error.
    Refused(Stored),
}

/// The bytes of a command before its value, and the length of the value with its line end in bytes.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) head: &'a [u8],
    pub(super) bytes: usize,
}

/// True if a refused `store` must remove the old item. After a failed set the client must not find the value that it wanted to
/// replace.
pub(super) fn drops_old(store: &StorageRequest<'_>) -> bool {
    store.mode == Mode::Set
}

impl Session {
    /// Decides how the value of `store` is received. If it goes into a reservation, `block.head` is consumed and stored in
    /// `Session::head`. `Err` if the command must run again later, because it waits for memory or for another ring.
    pub(super) fn body_source<'i>(
        &mut self,
        feed: &mut InputBatch<'i, '_>,
        store: &StorageRequest<'_>,
        value_bytes: usize,
        block: Block<'_>,
    ) -> Result<BodySource<'i>, Retry> {
        let after = &feed.input[feed.at + block.head.len()..];
        if feed.executor.is_too_large(store, value_bytes) {
            return Ok(BodySource::Refused(Stored::TooLarge));
        }
        if let Some(here) = after.get(..block.bytes) {
            return Ok(BodySource::Here(here));
        }
        if value_bytes < DRAFT_BYTES_MIN || self.datagram.is_some() {
            self.lacks_value = true;
            return Ok(BodySource::Need);
        }
        match feed.executor.reserve(store.key, value_bytes, RESERVE_TURNS) {
            Err(retry) if retry != Retry::Later || self.waited < RESERVATION_WAIT_MAX => Err(retry),
            Err(_) | Ok(Err(_)) => {
                self.waited = Duration::ZERO;
                Ok(BodySource::Refused(Stored::NoMemory))
            }
            Ok(Ok(reservation)) => {
                self.head.clear();
                self.head.extend_from_slice(block.head);
                self.state = State::Receive(Some(reservation));
                feed.at += block.head.len();
                Ok(BodySource::Receiving)
            }
        }
    }

    /// Makes the session skip the next `bytes` bytes of the input and then send `then`.
    pub(super) fn discard_body(&mut self, bytes: usize, then: DeferredReply) {
        self.state = State::DiscardBody { left: bytes as u64, then };
    }

    /// Says whether the client is in the middle of sending a value, or may send a command next.
    #[inline]
    pub fn owes(&self) -> Owed {
        if !matches!(self.state, State::Command) {
            return self.owes_amid_command();
        }
        if self.lacks_value { Owed::Value } else { Owed::Nothing }
    }

    /// Does what [`Session::owes`] does, for all states except `State::Command`.
    #[inline(never)]
    fn owes_amid_command(&self) -> Owed {
        match &self.state {
            State::DiscardBody { .. } => Owed::RefusedValue,
            State::Receive(Some(reservation)) if reservation.is_given_up() => Owed::RefusedValue,
            State::Receive(_) => Owed::Value,
            _ => Owed::Nothing,
        }
    }

    /// Returns how long, all pauses together, the command in progress has waited for memory for its value. After
    /// [`RESERVATION_WAIT_MAX`] the value is refused.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Adds `time` to [`Session::waited`], after a pause that [`Next::Wait`] has requested.
    pub fn note_waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Gives up the memory of the value that is being received, because other values wait for memory. The session then skips the
    /// rest of the value and refuses its command. No effect if no value is being received or its reservation is lent.
    pub fn give_up_value(&mut self) {
        if let State::Receive(Some(reservation)) = &mut self.state {
            reservation.give_up();
        }
    }

    /// Skips input of a refused value. Stages the reply when all of the value has been skipped.
    pub(super) fn skip_body(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let State::DiscardBody { left, then } = &mut self.state else { return Step::Done };
        let skipped = (*left).min(feed.rest().len() as u64);
        *left -= skipped;
        feed.at += skipped as usize;
        if *left > 0 {
            return Step::Need;
        }
        let then = *then;
        self.state = State::Command;
        match then {
            DeferredReply::Nothing => {}
            DeferredReply::Line(line) => self.push_line(feed, line),
            DeferredReply::Packet(echo, status) => refuse_packet(feed, echo, status),
        }
        Step::Done
    }

    /// Moves input into the reservation, and finds more memory for the reservation when it is full. `None` if the value is
    /// complete; otherwise how the step ends.
    ///
    /// The loop ends, because each round takes input or finds room for more input.
    pub(super) fn receive_body(&mut self, feed: &mut InputBatch<'_, '_>) -> Option<Step> {
        let State::Receive(reservation) = &mut self.state else { return None };
        let Some(filling) = reservation else { return Some(Step::Stop(Next::Receive)) };
        loop {
            feed.at += filling.fill(&feed.input[feed.at..]);
            if filling.filled() == filling.len() {
                return None;
            }
            if filling.is_given_up() {
                return Some(Step::Need);
            }
            if !filling.needs_room() {
                return Some(Step::Stop(Next::Receive));
            }
            match feed.executor.extend(filling, RESERVE_TURNS) {
                Ok(Ok(())) => {}
                Err(retry @ (Retry::Soon | Retry::Stalled)) => return Some(Step::Stop(retry.into())),
                _ if self.waited < RESERVATION_WAIT_MAX => return Some(Step::Stop(Next::Wait)),
                _ => filling.give_up(),
            }
        }
    }

    /// Ends a command whose value has been received. If `done` is an error, the command must run again, and the session keeps the
    /// reservation until then.
    pub(super) fn received(&mut self, done: Result<(), Retry>, data: Data<'_>) -> Result<Step, Retry> {
        if done.is_err()
            && let Data::Reservation(reservation) = data
        {
            self.state = State::Receive(Some(reservation));
        } else {
            self.waited = Duration::ZERO;
        }
        done.map(|()| Step::Done)
    }

    /// Takes the reservation of the value that is being received out of the session, so that the kernel can write into it. `None`
    /// if no value is being received or its reservation is lent already.
    pub fn lend_reservation(&mut self) -> Option<Reservation> {
        match &mut self.state {
            State::Receive(reservation) => reservation.take(),
            _ => None,
        }
    }

    /// Gives a lent reservation back to the session. The caller has already `advance`d it past the bytes that were received.
    pub fn return_reservation(&mut self, reservation: Reservation) {
        if let State::Receive(place) = &mut self.state {
            *place = Some(reservation);
        }
    }
}

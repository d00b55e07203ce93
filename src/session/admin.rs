//! Commands for administrators: statistics, settings, dumps.

use super::{Feed, Session, Step};
use crate::proto::binary::{self, Echo, Status};
use crate::proto::text::{Admin, Words, reply};

impl Session {
    /// Runs an administration command; its line is used up.
    pub(super) fn admin(&mut self, feed: &mut Feed<'_, '_>, admin: Admin, words: Words<'_>) -> Step {
        match admin {
            Admin::Stats => self.stats(feed, words),
            _ => {
                self.say(feed, reply::ERROR);
                Step::Done
            }
        }
    }

    fn stats(&mut self, feed: &mut Feed<'_, '_>, mut words: Words<'_>) -> Step {
        let Some(word) = words.next() else {
            let (turn, out) = (&feed.turn, &mut feed.out.staged);
            turn.stats(&mut |name, value| reply::stat(out, name.as_bytes(), value.as_bytes()));
            self.say(feed, reply::END);
            return Step::Done;
        };
        // memcached compares as many bytes as the word has.
        if b"reset".starts_with(word) {
            feed.turn.reset_stats();
            self.say(feed, reply::RESET);
        } else if b"settings".starts_with(word) {
            let (turn, out) = (&feed.turn, &mut feed.out.staged);
            turn.settings(&mut |name, value| reply::stat(out, name.as_bytes(), value.as_bytes()));
            self.say(feed, reply::END);
        } else {
            self.say(feed, reply::ERROR);
        }
        Step::Done
    }

    /// The binary stat command.
    pub(super) fn packet_stat(&mut self, feed: &mut Feed<'_, '_>, echo: Echo, key: &[u8]) -> Step {
        let (turn, out) = (&feed.turn, &mut feed.out.staged);
        let mut sink = |name: &str, value: &str| {
            binary::push_stat(out, echo, name.as_bytes(), value.as_bytes());
        };
        if key.is_empty() {
            turn.stats(&mut sink);
        } else if b"reset".starts_with(key) {
            turn.reset_stats();
        } else if b"settings".starts_with(key) {
            turn.settings(&mut sink);
        } else {
            Self::refuse_packet(feed, echo, Status::NotFound);
            return Step::Done;
        }
        binary::push_stat(&mut feed.out.staged, echo, b"", b"");
        Step::Done
    }
}

//! What waits to be published, in which order.
//!
//! Events go first and in order; then `state`; then `progress`, of which only the newest counts; then log lines. One message is
//! on its way at a time: the session asks for the next one when the last is done.

use heapless::Deque;
use otaria_wire::messages::{Event, Progress};

use crate::board::{Duration, Instant};
use crate::mqtt::Outbound;
use crate::storage::log::Tail;

/// Events that wait. While the broker is away, retries would fill any queue: the oldest step that is not final gives way.
const EVENTS: usize = 6;

/// What a message on its way was, so that its delivery can be put down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Event { n: u32 },
    State,
    Log,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'o> {
    Event(&'o Event),
    State,
    Progress(Progress),
    /// Lines of the log, as many as fit.
    Log,
}

/// What was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// It was a final event, which the journal keeps until now.
    pub(super) kept: bool,
}

#[derive(Debug)]
pub(super) struct Outbox {
    events: Deque<(Event, bool), EVENTS>,
    state_due: bool,
    state_sent: Option<Instant>,
    progress: Option<Progress>,
    progress_sent: Option<(Instant, u32)>,
    tail: Option<Tail>,
    sent: Option<(u32, Sent)>,
    token: u32,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            events: Deque::new(),
            state_due: true,
            state_sent: None,
            progress: None,
            progress_sent: None,
            tail: None,
            sent: None,
            token: 0,
        }
    }

    /// Queues an event. `kept`: it is in the journal until it is delivered.
    pub(super) fn event(&mut self, event: Event, kept: bool) {
        if self.events.is_full() {
            // Not the first: it may be on its way.
            let gone = self
                .events
                .iter()
                .enumerate()
                .skip(1)
                .find(|(_, (_, kept))| !kept)
                .map(|(at, _)| at);
            let Some(gone) = gone else {
                return;
            };
            let mut left = Deque::new();
            for (at, event) in core::mem::take(&mut self.events).into_iter().enumerate() {
                if at != gone {
                    let _ = left.push_back(event);
                }
            }
            self.events = left;
        }
        let _ = self.events.push_back((event, kept));
    }

    /// Whether every event has been delivered.
    pub(super) fn is_flushed(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a result waits that the journal keeps.
    pub(super) fn has_kept(&self) -> bool {
        self.events.iter().any(|(_, kept)| *kept)
    }

    pub(super) fn state(&mut self) {
        self.state_due = true;
    }

    /// Asks for `state` again if the last one is old.
    pub(super) fn state_if_older(&mut self, now: Instant, than: Duration) {
        if self.state_sent.is_some_and(|sent| now >= sent + than) {
            self.state_due = true;
        }
    }

    /// When `state` is due without any change.
    pub(super) fn state_at(&self, every: Duration) -> Option<Instant> {
        if self.state_due {
            None
        } else {
            self.state_sent.map(|sent| sent + every)
        }
    }

    /// Takes a progress report, if it is one to be sent: every 5 % or every `every`, never sooner than after `least`.
    pub(super) fn progress(
        &mut self,
        now: Instant,
        progress: Progress,
        least: Duration,
        every: Duration,
    ) {
        let step = progress.total / 20;
        let due = match self.progress_sent {
            None => true,
            Some((sent, done)) => {
                let moved = progress.done.abs_diff(done);
                let whole = progress.done == progress.total && done != progress.total;
                now >= sent + least && (moved >= step || whole || now >= sent + every)
            }
        };
        if due {
            self.progress_sent = Some((now, progress.done));
            self.progress = Some(progress);
        }
    }

    /// A phase began or ended: the next progress report is sent at once.
    pub(super) fn progress_afresh(&mut self) {
        self.progress_sent = None;
        self.progress = None;
    }

    pub(super) fn logs(&mut self, tail: Tail) {
        self.tail = Some(tail);
    }

    pub(super) fn tail_mut(&mut self) -> Option<&mut Tail> {
        self.tail.as_mut()
    }

    pub(super) fn logs_done(&mut self) {
        self.tail = None;
    }

    pub(super) fn has_something(&self) -> bool {
        !self.events.is_empty() || self.state_due || self.progress.is_some() || self.tail.is_some()
    }

    pub(super) fn next(&mut self) -> Option<Next<'_>> {
        if let Some((event, _)) = self.events.front() {
            return Some(Next::Event(event));
        }
        if self.state_due {
            return Some(Next::State);
        }
        if let Some(progress) = self.progress.take() {
            return Some(Next::Progress(progress));
        }
        self.tail.is_some().then_some(Next::Log)
    }

    /// The message that [`Outbox::next`] gave for `topic` is on its way; its token.
    pub(super) fn sending(&mut self, now: Instant, topic: Outbound) -> u32 {
        self.token = self.token.wrapping_add(1);
        let sent = match topic {
            Outbound::Event => self
                .events
                .front()
                .map(|(event, _)| Sent::Event { n: event.n }),
            Outbound::State => {
                self.state_due = false;
                self.state_sent = Some(now);
                Some(Sent::State)
            }
            Outbound::Log => Some(Sent::Log),
            Outbound::Progress => None,
        };
        if let Some(sent) = sent {
            self.sent = Some((self.token, sent));
        }
        self.token
    }

    /// A message was delivered, or never will be.
    pub(super) fn done(&mut self, token: u32) -> Option<Delivered> {
        let (_, sent) = self.sent.take_if(|(waiting, _)| *waiting == token)?;
        match sent {
            Sent::Event { n } => {
                let (_, kept) = self.events.pop_front_if(|(event, _)| event.n == n)?;
                Some(Delivered { kept })
            }
            Sent::State | Sent::Log => None,
        }
    }
}

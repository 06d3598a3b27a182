//! How far a connection is, which answer it waits for, and how it is kept alive.

use super::codec::{ConnAck, Limits};
use super::{Awaited, MqttError};
use crate::board::{Duration, Instant};

/// How long the broker may take for CONNACK, SUBACK and PUBACK.
const ANSWER: Duration = Duration::from_secs(20);
/// How long it may take for a sign of life after PINGREQ.
const PING_ANSWER: Duration = Duration::from_secs(15);

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The broker has not accepted the session yet.
    Opened,
    /// The session is accepted, but not subscribed to anything.
    Accepted {
        /// Whether the broker knew the session from before.
        session_present: bool,
    },
    /// Everything is ready for messages.
    Subscribed,
}

/// An answer that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    what: Awaited,
    id: u16,
    /// `None` while the packet that it answers is being sent.
    until: Option<Instant>,
}

/// The state of one connection. One packet after the other is sent, each after the answer to the one before.
#[derive(Debug)]
pub(super) struct Flow {
    stage: Stage,
    limits: Limits,
    waiting: Option<Waiting>,
    up_since: Option<Instant>,
    /// A ping goes out after this long without anything sent or anything received.
    ping_after: Duration,
    sent_at: Instant,
    alive_at: Instant,
    ping_until: Option<Instant>,
}

impl Flow {
    /// A connection that has just been opened.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Opened,
            limits: Limits::NONE,
            waiting: None,
            up_since: None,
            // Before CONNACK there are no pings.
            ping_after: Duration::MAX,
            sent_at: now,
            alive_at: now,
            ping_until: None,
        }
    }

    /// The broker has accepted the session with `connack`; `keep_alive` is what was announced to it.
    pub(super) fn accepted(&mut self, connack: &ConnAck, keep_alive: u16, now: Instant) {
        // The broker's word counts, unless it allows more silence than was asked for. It drops a client after one and a half
        // times that (3.1.2.10).
        let secs = match connack.limits.keep_alive {
            0 => keep_alive,
            prescribed => keep_alive.min(prescribed),
        };
        *self = Self {
            stage: Stage::Accepted {
                session_present: connack.session_present,
            },
            limits: connack.limits,
            up_since: Some(now),
            ping_after: Duration::from_millis(u64::from(secs) * 750),
            ..Self::new(now)
        };
    }

    /// All subscriptions are granted. Whether the broker knew the session from before.
    pub(super) fn subscribed(&mut self) -> bool {
        let stage = core::mem::replace(&mut self.stage, Stage::Subscribed);
        stage
            == Stage::Accepted {
                session_present: true,
            }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// What the broker takes.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the broker accepted the session, if it did.
    pub(super) const fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    /// A packet has been sent. From here on its answer is waited for, if it needs one: however long the network took it.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
        if let Some(waiting) = &mut self.waiting {
            waiting.until.get_or_insert(now + ANSWER);
        }
    }

    /// The broker has shown that it lives.
    pub(super) fn alive(&mut self, now: Instant) {
        self.alive_at = now;
        self.ping_until = None;
    }

    /// Bytes have come of a packet that is being dropped. No answer can arrive before its end, so none is late.
    pub(super) fn skipped(&mut self, now: Instant) {
        self.alive(now);
        if let Some(waiting) = &mut self.waiting {
            waiting.until = Some(now + ANSWER);
        }
    }

    /// A packet is being sent that the broker has to answer; `id` is its identifier, 0 if it has none.
    pub(super) fn wait_for(&mut self, what: Awaited, id: u16) {
        self.waiting = Some(Waiting {
            what,
            id,
            until: None,
        });
    }

    /// The broker has answered the packet `id`.
    pub(super) fn answered(&mut self, what: Awaited, id: u16) -> Result<(), MqttError> {
        match self.waiting {
            Some(waiting) if waiting.what == what && waiting.id == id => {
                self.waiting = None;
                Ok(())
            }
            _ => Err(MqttError::UnknownPacketId(id)),
        }
    }

    /// Whether the next packet may be sent: everything that was sent before is answered.
    pub(super) const fn may_speak(&self) -> bool {
        self.waiting.is_none()
    }

    /// When [`on_time`](Self::on_time) has to be called at the latest.
    pub(super) fn poll_at(&self) -> Instant {
        let ping_at = self.ping_at();
        let late_at = self.waiting.and_then(|waiting| waiting.until);
        late_at.map_or(ping_at, |late_at| late_at.min(ping_at))
    }

    fn ping_at(&self) -> Instant {
        self.ping_until
            .unwrap_or_else(|| self.sent_at.min(self.alive_at) + self.ping_after)
    }

    /// Time has passed. `Ok(true)`: send PINGREQ now.
    pub(super) fn on_time(&mut self, now: Instant) -> Result<bool, MqttError> {
        if let Some(waiting) = self.waiting
            && waiting.until.is_some_and(|until| now >= until)
        {
            return Err(MqttError::NoAnswer(waiting.what));
        }
        if now < self.ping_at() {
            return Ok(false);
        }
        if self.ping_until.is_some() {
            return Err(MqttError::NoAnswer(Awaited::Ping));
        }
        self.ping_until = Some(now + PING_ANSWER);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReasonCode;
    use super::*;

    fn flow() -> Flow {
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode(0),
            limits: Limits::NONE,
        };
        let mut flow = Flow::new(Instant::ZERO);
        flow.accepted(&connack, 60, Instant::ZERO);
        flow
    }

    #[test]
    fn a_broker_that_has_not_accepted_the_session_gets_no_pings() {
        let mut flow = Flow::new(Instant::ZERO);
        flow.wait_for(Awaited::Connect, 0);
        flow.sent(Instant::ZERO);
        assert_eq!(flow.poll_at(), Instant::ZERO + ANSWER);
        assert_eq!(
            flow.on_time(flow.poll_at() - Duration::from_micros(1)),
            Ok(false)
        );
        assert_eq!(
            flow.on_time(flow.poll_at()),
            Err(MqttError::NoAnswer(Awaited::Connect))
        );
    }

    #[test]
    fn an_answer_is_late_20_seconds_after_its_packet_has_been_sent_whatever_is_sent_since() {
        let mut flow = Flow::new(Instant::ZERO);
        flow.wait_for(Awaited::Connect, 0);
        let sent = Instant::from_secs(19);
        assert_eq!(flow.on_time(sent), Ok(false));
        flow.sent(sent);
        flow.sent(sent + Duration::from_secs(10));
        let late = sent + ANSWER;
        assert_eq!(flow.poll_at(), late);
        assert_eq!(flow.on_time(late - Duration::from_micros(1)), Ok(false));
        assert_eq!(
            flow.on_time(late),
            Err(MqttError::NoAnswer(Awaited::Connect))
        );
    }

    #[test]
    fn a_device_that_sends_all_the_time_pings_a_broker_that_says_nothing() {
        let mut flow = flow();
        for secs in 1..45 {
            let now = Instant::from_secs(secs);
            flow.sent(now);
            assert_eq!(flow.on_time(now), Ok(false));
        }
        assert_eq!(flow.poll_at(), Instant::from_secs(45));
        assert_eq!(flow.on_time(Instant::from_secs(45)), Ok(true));
        flow.sent(Instant::from_secs(59));
        assert_eq!(
            flow.on_time(Instant::from_secs(60)),
            Err(MqttError::NoAnswer(Awaited::Ping))
        );
    }

    #[test]
    fn a_device_that_only_listens_pings_too() {
        let mut flow = flow();
        for secs in 1..45 {
            flow.alive(Instant::from_secs(secs));
        }
        assert_eq!(flow.on_time(Instant::from_secs(45)), Ok(true));
    }

    #[test]
    fn nothing_is_late_while_a_packet_is_being_dropped() {
        for what in [Awaited::Subscribe, Awaited::Publish] {
            let mut flow = flow();
            flow.wait_for(what, 1);
            for secs in 1..100 {
                flow.sent(Instant::from_secs(secs));
                flow.skipped(Instant::from_secs(secs));
            }
            let end = Instant::from_secs(99) + ANSWER;
            assert_eq!(flow.on_time(end - Duration::from_micros(1)), Ok(false));
            assert_eq!(flow.on_time(end), Err(MqttError::NoAnswer(what)));
        }
    }
}

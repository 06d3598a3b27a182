//! The runtime's end of the MQTT session.

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::machine::Event as EngineEvent;
use otaria_wire::journal::{Download, PendingReport};
use otaria_wire::messages::{Command, Desired, FailureCode, Level, MessageError, to_json};

use super::commands::Taken;
use super::outbox::Next;
use super::shared::Shared;
use crate::board::{Board, Clock, Duration};
use crate::mqtt::{Inbound, Mailbox, MqttError, Outbound, Outgoing, PublishError};
use crate::storage::journal::JournalError;

/// The console is told again after this why there is no broker, if it is still the same.
const REMIND: Duration = Duration::from_secs(60);
/// Room that a log line needs at most in JSON, when all of its text has to be escaped as `\"`.
const LOG_LINE_ROOM: usize = 512;

impl<B: Board, K: Clock, F: NorFlash> Mailbox for Shared<'_, B, K, F> {
    fn connected(&self, session_present: bool) {
        self.note(
            Level::Info,
            format_args!("mqtt: connected, session present: {session_present}"),
        );
        self.broker_failed.set(None);
        self.times.connected();
        self.monitor.set_connected(true);
        self.outbox.borrow_mut().state();
        self.publish();
        self.tell(EngineEvent::Mqtt(true));
    }

    fn disconnected(&self, why: &MqttError) {
        let now = self.clock.now();
        let told = self.broker_failed.get();
        // The first one says what may be wrong in the settings. A line for each attempt of a night without broker would push
        // everything else out of the log.
        if told.is_none() {
            self.note(Level::Warn, format_args!("mqtt: {why}"));
        }
        if told.is_none_or(|(last, at)| last != *why || now - at >= REMIND) {
            self.broker_failed.set(Some((*why, now)));
            let mut board = self.board.borrow_mut();
            board.say(format_args!("mqtt: {why}"));
        }
        self.monitor.set_connected(false);
        self.tell(EngineEvent::Mqtt(false));
    }

    fn received(&self, topic: Inbound, payload: &[u8], retained: bool) {
        match topic {
            Inbound::Desired => match Desired::parse(payload) {
                Ok(wish) => self.wish(wish.as_ref(), !retained),
                Err(error) => self.refuse(&error, retained),
            },
            Inbound::Command if retained => {
                self.note_message(Level::Warn, format_args!("a retained command is refused"));
                self.tell(EngineEvent::Refused(FailureCode::RetainedCommand));
            }
            Inbound::Command => match Command::parse(payload) {
                Ok(command) => self.command(&command),
                Err(error) => self.refuse(&error, retained),
            },
            Inbound::Keys => self.keys(payload),
        }
    }

    fn oversized(&self, topic: Inbound, len: u32, retained: bool) {
        self.note_message(
            Level::Warn,
            format_args!("mqtt: a message of {len} bytes on {topic} is refused"),
        );
        // A retained one comes back with every connection. Once is enough for the log.
        if !retained || topic == Inbound::Desired {
            self.tell(EngineEvent::Refused(FailureCode::MessageTooLarge));
        }
    }

    fn acknowledged(&self, topic: Inbound) {
        if topic == Inbound::Command {
            self.commands.borrow_mut().acknowledged();
            self.wake.signal(());
        }
    }

    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        // Whatever cannot be written out (nothing of that size exists) is passed over: at most the queue's length.
        for _ in 0..8 {
            if let Some(outgoing) = self.take_one(buf)? {
                return Some(outgoing);
            }
        }
        None
    }

    fn delivered(&self, token: u32) {
        let Some(delivered) = self.outbox.borrow_mut().done(token) else {
            return;
        };
        // A result can wait behind another one. The journal has the last.
        if delivered.kept && !self.outbox.borrow().has_kept() {
            let cleared = self
                .stores
                .journal
                .borrow_mut()
                .append(0, &PendingReport { event: None });
            if let Err(error) = cleared {
                // It is sent once more after a restart; the receiver knows it by its number.
                self.note(Level::Warn, format_args!("result not cleared: {error}"));
            }
            self.tell(EngineEvent::Delivered);
        }
        if self.outbox.borrow().is_flushed() {
            self.tell(EngineEvent::Flushed);
        }
    }

    fn refused(&self, token: u32, why: &PublishError) {
        self.note(
            Level::Warn,
            format_args!("mqtt: a message was not delivered: {why}"),
        );
        // Sending it again would end the same way, and everything behind it would wait for ever.
        self.delivered(token);
    }

    async fn outgoing_ready(&self) {
        while !self.outbox.borrow().has_something() {
            self.outgoing.wait().await;
        }
    }
}

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// A wish that was published just now may not be stored by the broker: it goes to the journal before it is acknowledged, so
    /// that a power cut does not lose it. A stored one comes again by itself.
    fn wish(&self, wish: Option<&Desired>, fresh: bool) {
        let journalled = match wish {
            Some(wish) => {
                self.note_message(
                    Level::Info,
                    format_args!("wish: {} {}", wish.job.as_deref().unwrap_or(""), wish.url),
                );
                if fresh { self.remember(wish) } else { Ok(()) }
            }
            None => {
                self.note_message(Level::Info, format_args!("wish: none"));
                self.stores.journal.borrow_mut().remove::<Download>(0)
            }
        };
        if let Err(error) = journalled {
            self.note(Level::Error, format_args!("wish not kept: {error}"));
        }
        self.tell(EngineEvent::Wish { wish, fresh });
    }

    fn remember(&self, wish: &Desired) -> Result<(), JournalError> {
        let mut journal = self.stores.journal.borrow_mut();
        let job = wish.job.clone().unwrap_or_default();
        let known = journal.latest::<Download>(0).ok().flatten();
        // A download of this wish is under way: its record knows the package too, which stays. So it does if the wish only gets
        // a name now; until then the package's identity was its name.
        let under_way = known.clone().filter(|known| {
            known.url == wish.url
                && (job.is_empty()
                    || known.job == job
                    || known.job == known.identity.to_hex().as_str())
        });
        let download = match under_way {
            Some(known) => Download {
                job: if job.is_empty() { known.job } else { job },
                ..known
            },
            None => Download {
                job,
                url: wish.url.clone(),
                ..Download::default()
            },
        };
        let download = Download {
            version: wish.version.clone(),
            image_sha256: wish.image_sha256,
            not_before: wish.not_before,
            deadline: wish.deadline,
            ..download
        };
        if known.as_ref() == Some(&download) {
            return Ok(());
        }
        if !self.budget.take(self.clock.now()) {
            // It is worked on all the same; only a power cut would lose it.
            return Ok(());
        }
        journal.append(0, &download)
    }

    fn refuse(&self, error: &MessageError, retained: bool) {
        self.note_message(
            Level::Warn,
            format_args!("message refused (retained: {retained}): {error}"),
        );
        self.tell(EngineEvent::Refused(error.code()));
    }

    fn command(&self, command: &Command) {
        if !self.budget.take(self.clock.now()) {
            self.note_message(
                Level::Warn,
                format_args!("too many commands, {} is dropped", command.id),
            );
            return;
        }
        let taken = self
            .commands
            .borrow_mut()
            .take(&mut self.stores.journal.borrow_mut(), command);
        match taken {
            Ok(Taken::Fresh) => self.note_message(
                Level::Info,
                format_args!("command {} {:?}", command.id, command.cmd),
            ),
            Ok(Taken::Repeat) => self.note_message(
                Level::Info,
                format_args!("command {} was taken before", command.id),
            ),
            Ok(Taken::Full) => self.note_message(
                Level::Warn,
                format_args!("too many commands, {} is dropped", command.id),
            ),
            // Not in the journal: it might be carried out twice, so it is not carried out at all.
            Err(error) => self.note(
                Level::Error,
                format_args!("command {} dropped: {error}", command.id),
            ),
        }
    }

    /// `None`: nothing waits. `Some(None)`: what waited cannot be sent, look again.
    fn take_one(&self, buf: &mut [u8]) -> Option<Option<Outgoing>> {
        let mut outbox = self.outbox.borrow_mut();
        let (topic, len) = match outbox.next()? {
            Next::Event(event) => (Outbound::Event, to_json(event, buf).map(<[u8]>::len)),
            Next::Progress(progress) => {
                (Outbound::Progress, to_json(&progress, buf).map(<[u8]>::len))
            }
            Next::State => {
                drop(outbox);
                let state = self.state();
                outbox = self.outbox.borrow_mut();
                (Outbound::State, to_json(&state, buf).map(<[u8]>::len))
            }
            Next::Log => {
                let len = match outbox.tail_mut() {
                    Some(tail) => self.log_lines(tail, buf),
                    None => 0,
                };
                if len == 0 {
                    outbox.logs_done();
                    return Some(None);
                }
                (Outbound::Log, Ok(len))
            }
        };
        let token = outbox.sending(self.clock.now(), topic);
        let Ok(len) = len else {
            outbox.done(token);
            return Some(None);
        };
        Some(Some(Outgoing {
            topic,
            len,
            qos1: topic != Outbound::Progress,
            retain: topic == Outbound::State,
            token,
        }))
    }

    /// Writes log lines into `buf`, one JSON object a line, as many as fit; says how many bytes.
    fn log_lines(&self, tail: &mut crate::storage::log::Tail, buf: &mut [u8]) -> usize {
        let mut log = self.log.borrow_mut();
        let Some(log) = log.as_mut() else {
            return 0;
        };
        let mut len = 0;
        while buf.len().saturating_sub(len) >= LOG_LINE_ROOM {
            let Ok(Some(line)) = log.ring.next_line(tail) else {
                break;
            };
            let Some(room) = buf.get_mut(len..) else {
                break;
            };
            if let Ok(json) = to_json(&line, room) {
                let end = json.len();
                if let Some(newline) = room.get_mut(end) {
                    *newline = b'\n';
                    len += end + 1;
                }
            }
        }
        len
    }
}

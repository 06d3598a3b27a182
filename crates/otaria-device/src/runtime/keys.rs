//! Key records: who signs packages from now on.

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::machine::Event as EngineEvent;
use otaria_wire::keys::KeyRecord;
use otaria_wire::messages::Level;

use super::shared::Shared;
use crate::board::{Board, Clock};
use crate::install::Reason;
use crate::trust::{KeysError, Trust};

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// Goes by the key record in the journal.
    pub(super) fn load_keys(&self) {
        match self.trust.load(&mut self.stores.journal.borrow_mut()) {
            Ok(()) if self.trust.epoch() == 0 => {}
            Ok(()) => self.note(Level::Info, format_args!("{}", InForce(&self.trust))),
            Err(error) => {
                self.note(
                    Level::Error,
                    format_args!("keys: the record does not count: {error}"),
                );
                if error.is_damage() {
                    // Somebody has to send it again.
                    self.tell(EngineEvent::Refused(error.code()));
                }
            }
        }
    }

    /// A key record came in. It is in the journal before it is acknowledged. An empty message, which clears what the broker
    /// keeps, takes nothing back.
    // Not in the session's future: it is seldom called, and needs two kilobytes of stack.
    #[inline(never)]
    pub(super) fn keys(&self, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let examined = self
            .trust
            .examine(&mut self.stores.journal.borrow_mut(), payload);
        match examined {
            Ok(None) => {}
            Ok(Some(record)) => self.adopt(&record),
            Err(error) => self.refuse_keys(&error),
        }
    }

    fn adopt(&self, record: &KeyRecord<'_>) {
        // A signature takes a tenth of a second to check. The journal needs no budget: what goes there has an epoch above all
        // before, and a root key's signature.
        if !self.key_checks.take(self.clock.now()) {
            return self.refuse_keys(&KeysError::TooMany);
        }
        let adopted = self
            .trust
            .adopt(&mut self.stores.journal.borrow_mut(), record);
        if let Err(error) = adopted {
            return self.refuse_keys(&error);
        }
        self.note(Level::Info, format_args!("{}", InForce(&self.trust)));
        self.outbox.borrow_mut().state();
        self.publish();
        if self.refused_for_keys.take() {
            // A broker may deliver a wish before the keys that it needs.
            let wish = self.engine.borrow().wish().cloned();
            self.tell(EngineEvent::Wish {
                wish: wish.as_ref(),
                fresh: true,
            });
        }
        self.wake.signal(());
    }

    fn refuse_keys(&self, error: &KeysError) {
        self.note_message(Level::Warn, format_args!("keys refused: {error}"));
        self.tell(EngineEvent::Refused(error.code()));
    }
}

/// Which keys count, for the log.
struct InForce<'t, 'a>(&'t Trust<'a>);

impl fmt::Display for InForce<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.report();
        write!(f, "keys: epoch {}, {} of", keys.epoch, keys.threshold)?;
        for id in &keys.ids {
            write!(f, " {id}")?;
        }
        Ok(())
    }
}

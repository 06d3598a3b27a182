//! The long acts: one at a time, over the one HTTP client, beside everything else.

use embassy_futures::select::{Either, select};
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::admission::DeviceFacts;
use otaria_engine::machine::Event as EngineEvent;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::{FailureCode, FailureGroup, Level};
use otaria_wire::package::Codec;

use super::shared::{Operation, Shared, Verified};
use crate::board::{Board, Clock};
use crate::encryption::CIPHERS;
use crate::http::HttpClient;
use crate::install::{Fetch, FetchError, Workspace, verify};
use crate::net::Connect;
use crate::storage::trial;

/// What this firmware can decode.
const CODECS: &[Codec] = &[Codec::Stored, Codec::Deflate];

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// Carries out what the driver requests, for ever.
    pub(super) async fn operate<C: Connect>(
        &self,
        http: &mut HttpClient<'_, C, K>,
        workspace: &mut Workspace,
    ) -> ! {
        loop {
            let request = self.request.wait().await;
            match request.operation {
                Operation::Fetch => {
                    let fetched =
                        select(self.fetch(http, workspace), self.stopped(request.number)).await;
                    match fetched {
                        Either::First(result) => self.tell_fetched(result),
                        Either::Second(()) => self.tell_stopped(),
                    }
                }
                Operation::Verify => {
                    match select(self.verify_image(), self.stopped(request.number)).await {
                        Either::First(result) => {
                            self.tell_end(result, |result| EngineEvent::Verified(result));
                        }
                        Either::Second(()) => self.tell_stopped(),
                    }
                }
                Operation::Probe => {
                    let answered = self.probe(http).await;
                    self.tell(EngineEvent::Probed(answered));
                }
                Operation::Reactivate => {
                    let result = self.verify_and_reactivate().await;
                    self.tell_end(result, |result| {
                        EngineEvent::Reactivated(result.map_err(|failure| failure.code))
                    });
                }
            }
        }
    }

    /// Completes when the driver stops this operation. A stop that came too late for an earlier one is passed over.
    async fn stopped(&self, number: u32) {
        while self.stop.wait().await != number {}
    }

    async fn fetch<C: Connect>(
        &self,
        http: &mut HttpClient<'_, C, K>,
        workspace: &mut Workspace,
    ) -> Result<(), FetchError> {
        let wish = {
            let engine = self.engine.borrow();
            engine.job().ok_or(FailureCode::LogicBug)?.clone()
        };
        self.identity.set(None);
        let (chip_id, chip_revision) = {
            let board = self.board.borrow();
            (board.chip_id(), board.chip_revision())
        };
        let fetch = Fetch {
            stores: &self.stores,
            starts: &self.starts,
            trust: &self.trust,
            decryption: &self.config.decryption,
            facts: DeviceFacts {
                product: self.config.product.as_str(),
                chip_id,
                chip_revision,
                slot_len: self.stores.slot_len(),
                running_image: self.facts.running.image_sha256,
                allow_unguarded: self.config.packages.allow_unguarded,
                require_encryption: self.config.packages.require_encryption,
                codecs: CODECS,
                ciphers: CIPHERS,
            },
            clock: self.clock,
            observer: self,
            times: &self.times,
            words: &self.words,
        };
        fetch.run(http, workspace, &wish).await
    }

    /// What failed because the link is gone is told as that: its return is reason enough to try again. So the engine has to know
    /// first that it is gone.
    fn tell_fetched(&self, result: Result<(), FetchError>) {
        let result = match result {
            Ok(()) => Ok(()),
            Err(FetchError::AlreadyRunning) => return self.tell(EngineEvent::AlreadyRunning),
            Err(FetchError::Failed(code))
                if code.group() == FailureGroup::Transport && !self.look_at_link() =>
            {
                Err(FailureCode::NoNetwork)
            }
            Err(FetchError::Failed(code)) => Err(code),
        };
        let for_keys = matches!(
            result,
            Err(FailureCode::UnknownKey | FailureCode::NotEnoughSignatures)
        );
        self.refused_for_keys.set(for_keys);
        self.tell_end(result, |result| EngineEvent::Fetched(result));
    }

    /// Whatever had failed by then, nobody wants to hear of it.
    fn tell_stopped(&self) {
        let _ = self.words.take();
        self.tell(EngineEvent::Stopped);
    }

    async fn verify_image(&self) -> Result<(), FailureCode> {
        let identity = self.identity.get().ok_or(FailureCode::LogicBug)?;
        self.verify(&identity).await
    }

    /// Reads the image of package `identity` back, and keeps the proof for its activation.
    async fn verify(&self, identity: &Sha256Digest) -> Result<(), FailureCode> {
        // Under which the signatures are checked, at the beginning: others may count by the time the image is read.
        let epoch = self.trust.epoch();
        let image = verify(
            &self.stores,
            &self.trust,
            self.clock,
            &self.times,
            &self.words,
            identity,
        )
        .await?;
        *self.verified.borrow_mut() = Some(Verified { image, epoch });
        Ok(())
    }

    /// Any HTTP status line from the host that the package on trial came from.
    async fn probe<C: Connect>(&self, http: &mut HttpClient<'_, C, K>) -> bool {
        let record = trial::load(&mut self.stores.journal.borrow_mut());
        let Ok(Some(record)) = record else {
            return false;
        };
        match http.probe(&record.target.url).await {
            Ok(status) => {
                self.probe_failed.set(None);
                self.note(Level::Info, format_args!("probe: status {status}"));
                true
            }
            Err(error) => {
                // The same again, night after night, would push everything else out of the log.
                if self.probe_failed.replace(Some(error.code())) != Some(error.code()) {
                    self.note(Level::Warn, format_args!("probe: {error}"));
                }
                false
            }
        }
    }

    async fn verify_and_reactivate(&self) -> Result<(), FailureCode> {
        let identity = self.trial_record()?.target.identity;
        let verified = self.verify(&identity).await;
        verified.map_err(|_| FailureCode::TrialImageLost)?;
        self.reactivate()
    }
}

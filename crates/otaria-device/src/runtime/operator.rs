//! The long acts: one at a time, over the one HTTP client, beside everything else.

use embassy_futures::select::{Either, select};
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::admission::DeviceFacts;
use otaria_engine::machine::{Event as EngineEvent, Failure, FetchError};
use otaria_wire::messages::{FailureCode, FailureGroup, Level};
use otaria_wire::package::{Cipher, Codec};

use super::shared::{Operation, Shared};
use crate::board::{Board, Clock};
use crate::http::HttpClient;
use crate::install::{Fetch, StoreFailure, Workspace, verify};
use crate::net::Connect;
use crate::storage::trial;

/// What this firmware can decode and decrypt.
const CODECS: &[Codec] = &[Codec::Stored, Codec::Deflate];
const CIPHERS: &[Cipher] = &[Cipher::None];

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
                    let result =
                        select(self.fetch(http, workspace), self.stopped(request.number)).await;
                    self.tell(match result {
                        Either::First(result) => EngineEvent::Fetched(result),
                        Either::Second(()) => EngineEvent::Stopped,
                    });
                }
                Operation::Verify => {
                    let result = select(self.verify_image(), self.stopped(request.number)).await;
                    self.tell(match result {
                        Either::First(result) => EngineEvent::Verified(result),
                        Either::Second(()) => EngineEvent::Stopped,
                    });
                }
                Operation::Probe => {
                    let answered = self.probe(http).await;
                    self.tell(EngineEvent::Probed(answered));
                }
                Operation::Reactivate => {
                    let result = self.verify_and_reactivate().await;
                    self.tell(EngineEvent::Reactivated(result));
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
        let wish = self.engine.borrow().job().cloned();
        let wish = wish.ok_or(FetchError::Failed(FailureCode::LogicBug.into()))?;
        self.identity.set(None);
        let (chip_id, chip_revision) = {
            let board = self.board.borrow();
            (board.chip_id(), board.chip_revision())
        };
        let fetch = Fetch {
            stores: &self.stores,
            keys: &self.config.keys,
            facts: DeviceFacts {
                product: self.config.product.as_str(),
                chip_id,
                chip_revision,
                slot_len: self.stores.slot_len(),
                running_image: self.facts.running.image_sha256,
                allow_unguarded: self.config.packages.allow_unguarded,
                codecs: CODECS,
                ciphers: CIPHERS,
            },
            clock: self.clock,
            observer: self,
            times: &self.times,
        };
        fetch
            .run(http, workspace, &wish)
            .await
            .map_err(|error| self.without_link(error))
    }

    /// What failed because the link is gone is told as that: its return is reason enough to try again. So the engine has to know
    /// first that it is gone.
    fn without_link(&self, error: FetchError) -> FetchError {
        match error {
            FetchError::Failed(failure)
                if failure.code.group() == FailureGroup::Transport && !self.look_at_link() =>
            {
                FetchError::Failed(Failure {
                    code: FailureCode::NoNetwork,
                    ..failure
                })
            }
            other => other,
        }
    }

    async fn verify_image(&self) -> Result<(), Failure> {
        let identity = self.identity.get().ok_or(FailureCode::LogicBug)?;
        let image = verify(
            &self.stores,
            &self.config.keys,
            self.clock,
            &self.times,
            &identity,
        )
        .await?;
        *self.verified.borrow_mut() = Some(image);
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

    async fn verify_and_reactivate(&self) -> Result<(), Failure> {
        let record =
            trial::load(&mut self.stores.journal.borrow_mut()).map_err(|error| error.failure())?;
        let identity = record.ok_or(FailureCode::LogicBug)?.target.identity;
        let image = verify(
            &self.stores,
            &self.config.keys,
            self.clock,
            &self.times,
            &identity,
        )
        .await;
        let image = image.map_err(|failure| Failure {
            code: FailureCode::TrialImageLost,
            ..failure
        })?;
        *self.verified.borrow_mut() = Some(image);
        self.reactivate()
    }
}

//! Reading from an HTTP body: exact lengths, nothing believed.

use embedded_io_async::{Read, Write};
use otaria_engine::machine::Failure;
use otaria_wire::messages::FailureCode;
use otaria_wire::{Sha256Digest, Sha256Hasher};

use super::{Times, failure};
use crate::board::{Clock, Duration};
use crate::http::{HttpError, Response};

/// Bytes that are read and thrown away at once.
const SKIP_CHUNK: usize = 512;

/// The body of an answer, with the position in the package.
pub(super) struct Body<'b, 'r, S, K> {
    response: &'b mut Response<'r, S, K>,
    clock: &'b K,
    times: &'b Times,
}

pub(super) fn http_failure(error: HttpError) -> Failure {
    let mut failure = failure(error.code(), error);
    if let HttpError::Status {
        retry_after: Some(secs),
        ..
    } = error
    {
        failure.retry_after = Some(Duration::from_secs(u64::from(secs)));
    }
    failure
}

impl<'b, 'r, S: Read + Write, K: Clock> Body<'b, 'r, S, K> {
    pub(super) fn new(
        response: &'b mut Response<'r, S, K>,
        clock: &'b K,
        times: &'b Times,
    ) -> Self {
        Self {
            response,
            clock,
            times,
        }
    }

    async fn some(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let began = self.clock.now();
        let got = self.response.read(into).await.map_err(http_failure)?;
        self.times.add_receive(self.clock.now() - began, got);
        Ok(got)
    }

    /// Fills `into`, as far as the body goes; says how far.
    pub(super) async fn up_to(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let mut have = 0;
        while let Some(rest) = into.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.some(rest).await? {
                0 => break,
                got => have += got,
            }
        }
        Ok(have)
    }

    /// Fills `into`.
    pub(super) async fn exact(&mut self, into: &mut [u8]) -> Result<(), Failure> {
        if self.up_to(into).await? == into.len() {
            Ok(())
        } else {
            Err(ended_early())
        }
    }

    /// Fills `into` and gives its digest, which is computed while the bytes come in.
    pub(super) async fn hashed(&mut self, into: &mut [u8]) -> Result<Sha256Digest, Failure> {
        let mut hasher = Sha256Hasher::new();
        let mut have = 0;
        while let Some(rest) = into.get_mut(have..).filter(|rest| !rest.is_empty()) {
            let got = self.some(rest).await?;
            if got == 0 {
                return Err(ended_early());
            }
            hasher.update(rest.get(..got).unwrap_or_default());
            have += got;
        }
        Ok(hasher.finish())
    }

    /// Reads `len` bytes and forgets them.
    pub(super) async fn skip(&mut self, len: u64) -> Result<(), Failure> {
        let mut left = len;
        let mut chunk = [0; SKIP_CHUNK];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(SKIP_CHUNK).min(SKIP_CHUNK);
            match self.some(chunk.get_mut(..want).unwrap_or_default()).await? {
                0 => return Err(ended_early()),
                got => left = left.saturating_sub(got as u64),
            }
        }
        Ok(())
    }
}

fn ended_early() -> Failure {
    failure(
        FailureCode::EarlyClose,
        "the body ended before the package did",
    )
}

//! Reading from an HTTP body: exact lengths, nothing believed.

use embedded_io_async::{Read, Write};
use otaria_wire::messages::FailureCode;
use otaria_wire::{Sha256Digest, Sha256Hasher};

use super::{Times, Words};
use crate::board::Clock;
use crate::http::Response;

/// Bytes that are read and thrown away at once.
const SKIP_CHUNK: usize = 512;

/// The body of an answer, with the position in the package.
pub(super) struct Body<'b, 'r, S, K> {
    response: &'b mut Response<'r, S, K>,
    clock: &'b K,
    times: &'b Times,
    words: &'b Words,
}

impl<'b, 'r, S: Read + Write, K: Clock> Body<'b, 'r, S, K> {
    pub(super) fn new(
        response: &'b mut Response<'r, S, K>,
        clock: &'b K,
        times: &'b Times,
        words: &'b Words,
    ) -> Self {
        Self {
            response,
            clock,
            times,
            words,
        }
    }

    async fn some(&mut self, into: &mut [u8]) -> Result<usize, FailureCode> {
        let began = self.clock.now();
        let got = self.response.read(into).await;
        let got = got.map_err(|error| self.words.failed(&error))?;
        self.times.add_receive(self.clock.now() - began, got);
        Ok(got)
    }

    /// Fills `into`, as far as the body goes; says how far.
    pub(super) async fn up_to(&mut self, into: &mut [u8]) -> Result<usize, FailureCode> {
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
    pub(super) async fn exact(&mut self, into: &mut [u8]) -> Result<(), FailureCode> {
        if self.up_to(into).await? == into.len() {
            Ok(())
        } else {
            Err(self.ended_early())
        }
    }

    /// Fills `into` and gives its digest, which is computed while the bytes come in.
    pub(super) async fn hashed(&mut self, into: &mut [u8]) -> Result<Sha256Digest, FailureCode> {
        let mut hasher = Sha256Hasher::new();
        let mut have = 0;
        while let Some(rest) = into.get_mut(have..).filter(|rest| !rest.is_empty()) {
            let got = self.some(rest).await?;
            if got == 0 {
                return Err(self.ended_early());
            }
            hasher.update(rest.get(..got).unwrap_or_default());
            have += got;
        }
        Ok(hasher.finish())
    }

    /// Reads `len` bytes and forgets them.
    pub(super) async fn skip(&mut self, len: u64) -> Result<(), FailureCode> {
        let mut left = len;
        let mut chunk = [0; SKIP_CHUNK];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(SKIP_CHUNK).min(SKIP_CHUNK);
            match self.some(chunk.get_mut(..want).unwrap_or_default()).await? {
                0 => return Err(self.ended_early()),
                got => left = left.saturating_sub(got as u64),
            }
        }
        Ok(())
    }

    fn ended_early(&self) -> FailureCode {
        self.words.failure(
            FailureCode::EarlyClose,
            format_args!("the body ended before the package did"),
        )
    }
}

//! The recipients of an encrypted package, and its content key.

use embedded_io_async::{Read, Write};
use embedded_storage::nor_flash::NorFlash;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{
    Cipher, Header, RECIPIENT_LEN, Recipient, RecipientSearch, VerifiedHeader,
};

use super::receive::Body;
use super::{Fetch, Observer};
use crate::board::Clock;
use crate::encryption::{ContentKey, DecryptError};

impl<F: NorFlash, K: Clock, O: Observer> Fetch<'_, '_, F, K, O> {
    /// Reads past the recipients, with whatever fits into `room` at a time, and gives this device's own. All of them are checked
    /// against the header before one is used.
    pub(super) async fn read_recipients<S: Read + Write>(
        &self,
        body: &mut Body<'_, '_, S, K>,
        room: &mut [u8],
        header: &Header,
    ) -> Result<Option<Recipient>, FailureCode> {
        let (room, _) = room.as_chunks_mut::<RECIPIENT_LEN>();
        let mut search = RecipientSearch::new();
        let mut left = usize::from(header.recipients);
        while left > 0 {
            let now = left.min(room.len());
            let entries = room.get_mut(..now).filter(|entries| !entries.is_empty());
            let entries = entries.ok_or(FailureCode::LogicBug)?;
            body.exact(entries.as_flattened_mut()).await?;
            search.look(entries, |id| self.decryption.holds(id));
            left -= now;
        }
        if header.cipher == Cipher::None {
            return Ok(None);
        }
        search
            .finish(header)
            .map_err(|error| self.words.failed(&error))
    }

    /// What the package's blocks are sealed with; `None` if they are not.
    pub(super) fn content_key(
        &self,
        header: &VerifiedHeader,
        recipient: Option<&Recipient>,
    ) -> Result<Option<ContentKey>, DecryptError> {
        match header.cipher {
            Cipher::None => Ok(None),
            Cipher::ChaCha20Poly1305 => self.decryption.open(header, recipient).map(Some),
        }
    }
}

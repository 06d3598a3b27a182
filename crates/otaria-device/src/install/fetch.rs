//! One try to bring a package's blocks into flash: all of them, or those that are still missing.
//!
//! The order, each step before the next one's first byte is used:
//!
//! 1. header: length, magic, zero bits; the key counts, the signature is good
//! 2. admission ([`otaria_engine::admission`]): already running, product, chip, revision, size, sequence, security version, ...
//! 3. block table: its digest, its entries, and that server and table agree on the package's length
//! 4. recipients of an encrypted package: their digest, and that this device's own content key opens
//! 5. co-signatures: as many good ones as are required
//! 6. **only now** flash is changed: header, table and own recipient are kept, sectors are erased
//! 7. each block: exact length, digest of the stored bytes, then decryption where it lies, then decoding, then writing
//!
//! # Resuming
//!
//! | journal and table store | the server | then |
//! |---|---|---|
//! | hold blocks of a package from this URL | sends the range | it goes on at the first missing block |
//! | | sends 200, same header | header, table and held blocks are read and thrown away: neither erased nor written again |
//! | | sends 200, another header | another package: it begins anew, if it is admitted |
//! | | has nothing there, another range, another file | the whole file is asked for, at most [`RESTARTS`] times |
//! | hold blocks, but from another URL | sends 200 | as the two lines above |
//! | hold nothing that fits | sends 200 | it begins |
//!
//! A block with the wrong digest is asked for once more by itself. If it is wrong again and nothing vouches that the file is
//! still the same one (no ETag), the file may have changed: the whole is asked for, once.

use core::fmt;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::admission::{self, DeviceFacts, Refusal};
use otaria_engine::machine::Admitted;
use otaria_engine::wear::Try;
use otaria_wire::Sha256Digest;
use otaria_wire::journal::{CoSigned, Download};
use otaria_wire::messages::{Desired, FailureCode, Level};
use otaria_wire::package::{
    BlockTable, COSIGNATURE_LEN, CoSignatures, HEADER_LEN, KeyId, Recipient, SignedHeader,
    VerifiedHeader, blocks_offset,
};

use super::pipe::Pipe;
use super::receive::Body;
use super::signatures::{self, recheck};
use super::{
    FetchError, Observer, Reason, Starts, Stores, Times, Words, Workspace, let_others_run,
};
use crate::board::Clock;
use crate::encryption::{ContentKey, DecryptionKeys};
use crate::http::{GetRequest, HttpClient, HttpError, Response};
use crate::net::Connect;
use crate::storage::region::Region;
use crate::storage::slot::{self, SlotWriter};
use crate::storage::table_store::{CheckedTable, TableStoreError};
use crate::trust::Trust;

/// How often, in one try, the whole file is asked for although a part of it was held.
const RESTARTS: u8 = 2;

/// What a fetch needs to know and to reach.
pub struct Fetch<'f, 'a, F, K, O> {
    /// Flash.
    pub stores: &'f Stores<'a, F>,
    /// What was begun so far.
    pub starts: &'f Starts,
    /// Whose packages are taken. That may change while one is on its way: it is looked at again before each block.
    pub trust: &'f Trust<'f>,
    /// What encrypted packages are opened with.
    pub decryption: &'f DecryptionKeys,
    /// What the device is.
    pub facts: DeviceFacts<'f>,
    /// Time.
    pub clock: &'f K,
    /// Who wants to know how far it is.
    pub observer: &'f O,
    /// Where the time goes.
    pub times: &'f Times,
    /// Why it fails.
    pub words: &'f Words,
}

/// A package whose header and table are checked and lie in the table store.
struct Package {
    header: VerifiedHeader,
    /// The key epoch under which its signatures were checked.
    epoch: u32,
    table: CheckedTable,
    /// What its blocks are sealed with, if they are.
    content_key: Option<ContentKey>,
    /// The server's validator, or empty.
    etag: heapless::String<64>,
}

/// Why blocks stopped coming.
enum Broken {
    /// The digest of this block is wrong.
    Block(u32),
    /// Anything else.
    Failed(FailureCode),
}

impl From<FailureCode> for Broken {
    fn from(code: FailureCode) -> Self {
        Self::Failed(code)
    }
}

impl<F: NorFlash, K: Clock, O: Observer> Fetch<'_, '_, F, K, O> {
    /// Fetches what is missing of the wish's package. When it returns without an error, all blocks are in flash.
    ///
    /// May be dropped at any time: what is whole in flash then stays for the next try.
    ///
    /// # Errors
    /// Whatever stopped it. What had been received whole and verified is in flash and journalled.
    pub async fn run<C: Connect>(
        &self,
        http: &mut HttpClient<'_, C, K>,
        workspace: &mut Workspace,
        wish: &Desired,
    ) -> Result<(), FetchError> {
        self.times.begin(self.clock.now());
        let (mut package, same_url) = self.held(wish)?;
        let mut by_range = package.is_some() && same_url;
        let mut again = None;
        let mut restarts = 0;
        let mut asked = None;
        loop {
            let mut from = None;
            if let Some(package) = package.as_ref().filter(|_| by_range) {
                self.admit(&package.header, wish)?;
                let held = self.writer(package)?.blocks_held();
                self.may_begin(&mut asked, &package.header, held)?;
                if held >= package.table.blocks() {
                    self.tell_admitted(package, held);
                    return Ok(());
                }
                from = Some((self.offset_of(package, held)?, held));
            }
            let request = GetRequest {
                url: &wish.url,
                range_from: from.map(|(offset, _)| offset),
                if_range: package
                    .as_ref()
                    .map(|package| package.etag.as_str())
                    .filter(|etag| !etag.is_empty()),
            };
            let mut response = match http.get(&request).await {
                Ok(response) => response,
                Err(
                    error @ (HttpError::RangeNotSatisfiable { .. }
                    | HttpError::RangeMismatch
                    | HttpError::ContentChanged),
                ) if from.is_some() && restarts < RESTARTS => {
                    self.observer.note(
                        Level::Warn,
                        format_args!("{error}; asking for the whole file"),
                    );
                    restarts += 1;
                    by_range = false;
                    continue;
                }
                Err(error) => return Err(self.failed(&error).into()),
            };
            let took = response.timing();
            self.times.add_connect(took.connect);
            self.times.add_tls(took.tls);
            let resumed = from.filter(|(offset, _)| *offset > 0 && response.start() == *offset);
            if resumed.is_none() {
                self.begin(&mut response, workspace, wish, &mut package, &mut asked)
                    .await?;
            }
            let package = package.as_ref().ok_or(FailureCode::LogicBug)?;
            let whole = self.offset_of(package, package.table.blocks())?;
            if response.total_len().is_some_and(|total| total != whole) {
                // Another file lies there now, and no entity tag has said so.
                if resumed.is_some() && restarts < RESTARTS {
                    restarts += 1;
                    by_range = false;
                    continue;
                }
                return Err(self.failed(&HttpError::LengthMismatch).into());
            }
            let first = resumed.map_or(0, |(_, held)| held);
            match self.blocks(&mut response, workspace, package, first).await {
                Ok(()) => return Ok(()),
                Err(Broken::Failed(code)) => return Err(code.into()),
                Err(Broken::Block(block)) if again != Some(block) => {
                    self.observer.note(
                        Level::Warn,
                        format_args!("block {block} is damaged; asking for it again"),
                    );
                    again = Some(block);
                    by_range = true;
                }
                Err(Broken::Block(_)) if package.etag.is_empty() && restarts == 0 => {
                    restarts = RESTARTS;
                    by_range = false;
                }
                Err(Broken::Block(block)) => {
                    let words = format_args!("block {block} has the wrong digest");
                    return Err(self.words.failure(FailureCode::BlockHash, words).into());
                }
            }
        }
    }

    fn failed(&self, error: &dyn Reason) -> FailureCode {
        self.words.failed(error)
    }

    /// The package that flash holds a part of, and whether the rest of it can be asked for: it came from the wish's URL.
    fn held(&self, wish: &Desired) -> Result<(Option<Package>, bool), FailureCode> {
        let download = self.stores.journal.borrow_mut().latest::<Download>(0);
        let epoch = self.trust.epoch();
        // A record that does not decode is as good as none: the download begins anew.
        let Ok(Some(download)) = download else {
            return Ok((None, false));
        };
        let stored = self.stores.tables.borrow_mut().load();
        let stored = stored.map_err(|error| self.failed(&error))?;
        let Some(header) = stored.and_then(|stored| stored.header.verify(self.trust).ok()) else {
            return Ok((None, false));
        };
        // If the wish declares something else, the file may have been replaced: the server is asked for all of it.
        let declared = admission::fits_declaration(&header, wish).is_ok();
        if header.identity() != download.identity || !declared {
            return Ok((None, false));
        }
        let table = match self.stores.tables.borrow_mut().check(&header) {
            Ok(table) => table,
            Err(error @ TableStoreError::Flash(_)) => return Err(self.failed(&error)),
            Err(
                TableStoreError::NotStored
                | TableStoreError::NoSuchBlock
                | TableStoreError::WrongSize,
            ) => {
                return Ok((None, false));
            }
        };
        let recipient = self.stores.tables.borrow_mut().recipient(&header);
        let recipient = recipient.map_err(|error| self.failed(&error))?;
        // Damaged in flash, or the device's key is another by now: what the server has decides.
        let Ok(content_key) = self.content_key(&header, recipient.as_ref()) else {
            return Ok((None, false));
        };
        // Without the co-signatures that are required it is read from its start, where they are.
        let signers = signatures::kept_signers(self.stores, self.trust, &header);
        let signed = signers >= self.trust.threshold();
        let same_url = download.url == wish.url && signed;
        Ok((
            Some(Package {
                header,
                epoch,
                table,
                content_key,
                etag: download.etag,
            }),
            same_url,
        ))
    }

    fn admit(&self, header: &VerifiedHeader, wish: &Desired) -> Result<(), FetchError> {
        let floors = self.stores.floors().map_err(|error| self.failed(&error))?;
        let quarantine = self.stores.quarantine();
        let quarantine = quarantine.map_err(|error| self.failed(&error))?;
        match admission::admit(header, &self.facts, floors.as_ref(), &quarantine, wish) {
            Ok(()) => Ok(()),
            Err(Refusal::AlreadyRunning) => Err(FetchError::AlreadyRunning),
            Err(Refusal::Code(code)) => Err(self.explain(code, header, wish).into()),
        }
    }

    /// Whether this try may change flash for a package; asked once for each package in a try.
    #[inline(never)]
    fn may_begin(
        &self,
        asked: &mut Option<Sha256Digest>,
        header: &VerifiedHeader,
        held: u32,
    ) -> Result<(), FailureCode> {
        let identity = header.identity();
        if asked.replace(identity) == Some(identity) {
            return Ok(());
        }
        let attempt = Try {
            identity8: identity.first8(),
            sequence: header.sequence,
            blocks_held: u16::try_from(held).unwrap_or(u16::MAX),
        };
        let journal = &mut self.stores.journal.borrow_mut();
        let begins = self.starts.begin(journal, self.clock.now(), &attempt);
        match begins.map_err(|error| self.failed(&error))? {
            Ok(()) => Ok(()),
            Err(seconds) => Err(self.words.wait(FailureCode::BegunTooOften, seconds)),
        }
    }

    fn writer<'s>(&'s self, package: &Package) -> Result<SlotWriter<Region<'s, F>>, FailureCode> {
        let open = || {
            let journal = &mut self.stores.journal.borrow_mut();
            // Its table is kept already, but an image that did not verify has forgotten its progress.
            let _kept = slot::start_download(journal, &package.header, 0)?;
            SlotWriter::open(
                self.stores.target()?,
                &package.header,
                &package.table,
                journal,
            )
        };
        open().map_err(|error| self.failed(&error))
    }

    fn offset_of(&self, package: &Package, block: u32) -> Result<u64, FailureCode> {
        self.stores
            .tables
            .borrow_mut()
            .offset_of(&package.table, block)
            .map_err(|error| self.failed(&error))
    }

    fn tell_admitted(&self, package: &Package, held: u32) {
        let header = &package.header;
        self.observer.admitted(Admitted {
            identity: header.identity(),
            total: header.image_len,
            held: held_bytes(header, held),
        });
    }

    /// Reads everything before the blocks. `package` is what flash holds; if it is this very package, it is gone on with, and
    /// else it gives way to this one.
    async fn begin<S: Read + Write>(
        &self,
        response: &mut Response<'_, S, K>,
        workspace: &mut Workspace,
        wish: &Desired,
        package: &mut Option<Package>,
        asked: &mut Option<Sha256Digest>,
    ) -> Result<(), FetchError> {
        let etag = response
            .etag()
            .and_then(|etag| heapless::String::try_from(etag).ok())
            .unwrap_or_default();
        let total_len = response.total_len();
        let mut body = Body::new(response, self.clock, self.times, self.words);
        let epoch = self.trust.epoch();
        let mut bytes = [0; HEADER_LEN];
        let have = body.up_to(&mut bytes).await?;
        let header = SignedHeader::parse(bytes.get(..have).unwrap_or_default())
            .map_err(|error| self.failed(&error))?
            .verify(self.trust)
            .map_err(|error| self.failed(&error))?;
        self.admit(&header, wish)?;

        let table_len = usize::try_from(header.table_len).unwrap_or(usize::MAX);
        let room = workspace.plain.get_mut(..table_len);
        body.exact(room.ok_or(FailureCode::LogicBug)?).await?;
        let recipient = self
            .read_recipients(&mut body, &mut workspace.stored, &header)
            .await?;
        let cosignatures = if header.flags.cosigned {
            let room = &mut workspace.stored;
            Some(self.read_cosigners(&mut body, room, &header.key_id).await?)
        } else {
            None
        };
        let cosigned = signatures::check(self.trust, self.words, &header, cosignatures.as_ref())?;
        let cosigners = cosignatures.map_or(0, |all| all.count());
        let offset = blocks_offset(&header, cosigners);
        // Somebody may have co-signed it since: the blocks are the same, and lie further behind.
        if let Some(same) = package.as_mut().filter(|known| known.header == header)
            && self.offset_of(same, 0)? == offset
        {
            (same.etag, same.epoch) = (etag, epoch);
            let held = self.writer(same)?.blocks_held();
            self.may_begin(asked, &header, held)?;
            return Ok(self.remember(same, cosigned.as_ref(), wish)?);
        }

        let room = workspace.plain.get(..table_len);
        let table = BlockTable::check(&header, room.ok_or(FailureCode::LogicBug)?)
            .map_err(|error| self.failed(&error))?;
        let whole = table.iter().fold(offset, |sum, entry| {
            sum.saturating_add(u64::from(entry.stored_len))
        });
        if total_len.is_some_and(|total| total != whole) {
            return Err(self.failed(&HttpError::LengthMismatch).into());
        }
        let content_key = self
            .content_key(&header, recipient.as_ref())
            .map_err(|error| self.failed(&error))?;
        self.may_begin(asked, &header, 0)?;
        let table = self
            .keep(&header, &table, recipient.as_ref(), offset)
            .await?;
        let begun = package.insert(Package {
            header,
            epoch,
            table,
            content_key,
            etag,
        });
        Ok(self.remember(begun, cosigned.as_ref(), wish)?)
    }

    /// Keeps header, table and recipient in flash, unless they lie there from an earlier download that was given up. The first
    /// time that flash is changed.
    async fn keep(
        &self,
        header: &VerifiedHeader,
        table: &BlockTable<'_>,
        recipient: Option<&Recipient>,
        offset: u64,
    ) -> Result<CheckedTable, FailureCode> {
        let Ok(offset) = u32::try_from(offset) else {
            let words = format_args!("the package is too large");
            return Err(self.words.failure(FailureCode::TableMalformed, words));
        };
        let mut writer =
            slot::start_download(&mut self.stores.journal.borrow_mut(), header, offset)
                .map_err(|error| self.failed(&error))?
                .with_recipient(recipient);
        let kept = self.stores.tables.borrow_mut().kept(header, recipient);
        if let Ok(table) = kept
            && table.blocks_offset() == offset
        {
            return Ok(table);
        }
        loop {
            let done = writer.step(&mut self.stores.tables.borrow_mut(), header, table);
            let done = done.map_err(|error| self.failed(&error))?;
            let_others_run().await;
            if done {
                break;
            }
        }
        let table = self.stores.tables.borrow_mut().check(header);
        table.map_err(|error| self.failed(&error))
    }

    /// Tells the journal what is being downloaded, for after a power cut, and who has co-signed it.
    fn remember(
        &self,
        package: &Package,
        cosigned: Option<&CoSigned>,
        wish: &Desired,
    ) -> Result<(), FailureCode> {
        if let Some(cosigned) = cosigned {
            let kept = self.stores.journal.borrow_mut().append(0, cosigned);
            kept.map_err(|error| self.failed(&error))?;
        }
        let identity = package.header.identity();
        let record = Download {
            identity,
            job: admission::job_name(wish, &identity),
            url: wish.url.clone(),
            etag: package.etag.clone(),
            version: wish.version.clone(),
            image_sha256: wish.image_sha256,
            not_before: wish.not_before,
            deadline: wish.deadline,
        };
        self.stores
            .journal
            .borrow_mut()
            .append(0, &record)
            .map_err(|error| self.failed(&error))
    }

    /// Receives and writes the blocks from `first` on; those that are held are only read.
    async fn blocks<S: Read + Write>(
        &self,
        response: &mut Response<'_, S, K>,
        workspace: &mut Workspace,
        package: &Package,
        first: u32,
    ) -> Result<(), Broken> {
        let mut writer = self.writer(package)?;
        self.tell_admitted(package, writer.blocks_held());
        let Workspace {
            stored,
            plain,
            decoder,
        } = workspace;
        let held = writer.blocks_held();
        let header = &package.header;
        let pipe = Pipe::new(plain);
        let receive = async {
            let mut body = Body::new(response, self.clock, self.times, self.words);
            let mut epoch = package.epoch;
            for index in first..package.table.blocks() {
                if epoch != self.trust.epoch() {
                    // Other keys count by now, and perhaps not this package's.
                    epoch = self.trust.epoch();
                    let identity = header.identity();
                    recheck(self.stores, self.trust, self.words, &identity)?;
                }
                let entry = self
                    .stores
                    .tables
                    .borrow_mut()
                    .entry(&package.table, index)
                    .map_err(|error| self.failed(&error))?;
                if index < held {
                    body.skip(u64::from(entry.stored_len)).await?;
                    // On a slow link that takes its time, and whoever waits for a sign of life has to see one.
                    self.observer.progress(held_bytes(header, held));
                    continue;
                }
                let len = usize::try_from(entry.stored_len).unwrap_or(usize::MAX);
                let stored = stored.get_mut(..len).ok_or(FailureCode::LogicBug)?;
                if body.hashed(stored).await? != entry.sha256 {
                    return Err(Broken::Block(index));
                }
                let encoded = match &package.content_key {
                    Some(key) => key
                        .decrypt(header, index, stored)
                        .map_err(|error| self.failed(&error))?,
                    None => stored,
                };
                let plain_len = header.plain_len(index).unwrap_or_default() as usize;
                pipe.put(index, plain_len, |plain| {
                    decoder
                        .decode(header.codec, encoded, plain)
                        .map_err(|error| self.failed(&error))
                })
                .await?;
            }
            Ok(())
        };
        let mut write = pin!(pipe.write(self, &mut writer, header.block_len));
        match select(receive, &mut write).await {
            Either::First(received) => {
                // What is received and verified is written, whatever ended the receiving.
                pipe.end();
                write.await?;
                received
            }
            // The writer ends by itself only if it failed.
            Either::Second(written) => Ok(written?),
        }
    }

    /// Reads the co-signatures: by distinct keys, none of them the signer's.
    async fn read_cosigners<'w, S: Read + Write>(
        &self,
        body: &mut Body<'_, '_, S, K>,
        room: &'w mut [u8],
        signer: &KeyId,
    ) -> Result<CoSignatures<'w>, FailureCode> {
        let mut count = [0];
        body.exact(&mut count).await?;
        let [count] = count;
        let len = 1 + usize::from(count) * COSIGNATURE_LEN;
        let Some(all) = room.get_mut(..len) else {
            let words = format_args!("{count} co-signatures are more than this device reads");
            return Err(self.words.failure(FailureCode::BadSignature, words));
        };
        if let Some((first, rest)) = all.split_first_mut() {
            *first = count;
            body.exact(rest).await?;
        }
        CoSignatures::parse(signer, all).map_err(|error| self.failed(&error))
    }

    /// Why a header is not admitted: what was found, and what was expected.
    fn explain(&self, code: FailureCode, header: &VerifiedHeader, wish: &Desired) -> FailureCode {
        let facts = &self.facts;
        let failure = |words: fmt::Arguments<'_>| self.words.failure(code, words);
        match code {
            FailureCode::WrongProduct => failure(format_args!(
                "the package is for {:?}, this is {:?}",
                header.product.as_str(),
                facts.product
            )),
            FailureCode::WrongChip => failure(format_args!(
                "the package is for chip {}, this is {}",
                header.chip_id, facts.chip_id
            )),
            FailureCode::WrongChipRevision => failure(format_args!(
                "the package is for revisions {} to {}, this is {}",
                header.min_chip_rev, header.max_chip_rev, facts.chip_revision
            )),
            FailureCode::ImageTooLarge => failure(format_args!(
                "the image has {} bytes, the slot {}",
                header.image_len, facts.slot_len
            )),
            FailureCode::SequenceNotHigher => failure(format_args!(
                "the package's sequence is {}",
                header.sequence
            )),
            FailureCode::DeclaredVersionDiffers => failure(format_args!(
                "declared {:?}, the package has {:?}",
                wish.version.as_deref().unwrap_or_default(),
                header.version.as_str()
            )),
            code => code,
        }
    }
}

/// Plain bytes in so many blocks.
fn held_bytes(header: &VerifiedHeader, held: u32) -> u32 {
    held.saturating_mul(header.block_len).min(header.image_len)
}

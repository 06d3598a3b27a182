//! Package files, named by the SHA-256 of their content.
//!
//! ```text
//! DATA/packages/<first two digits>/<digest>.otaria    complete, verified, never changed
//! DATA/packages/incoming/<name>                       being uploaded; removed at the next start
//! ```
//! A file gets its final name only after all of it is on disk and verified, so a reader never sees half a package. The
//! server holds no keys: whose signature it is, and what is in an encrypted package, devices check.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use otaria_package::read::{Contents, ReadError, Trust, read};
use otaria_wire::esp_image::ChipId;
use otaria_wire::{Sha256Digest, Sha256Hasher};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::model::Package;

/// Extension of package files and of their addresses.
pub(crate) const EXTENSION: &str = ".otaria";
/// How far a package's sequence may be ahead of the server's clock: a day, in milliseconds.
const SEQUENCE_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// The directory of packages.
#[derive(Clone, Debug)]
pub(crate) struct PackageFiles {
    dir: PathBuf,
    max_len: u64,
}

/// Whose directory it is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// This server's alone.
    Own(PathBuf),
    /// Other servers take uploads there, too.
    Shared(PathBuf),
}

/// After how long without a byte an upload to another server is taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(
        "the package is larger than {max} bytes; start the server with a larger --max-package if that is right"
    )]
    TooLarge { max: u64 },
    #[error("the upload broke off")]
    Broken(#[source] axum::Error),
    #[error("it is not a package that a device would take")]
    Refused(#[source] ReadError),
    #[error(
        "its sequence {sequence} is more than a day ahead of this server's clock ({now_ms}): once a device has confirmed \
         it, no package with an honest sequence is newer; check the clocks, and package it again"
    )]
    SequenceAhead { sequence: u64, now_ms: u64 },
    #[error("the package could not be stored")]
    Io(#[from] io::Error),
}

/// Where the file of a package is in the directory of packages.
pub(crate) fn place(digest: &Sha256Digest) -> String {
    let hex = digest.to_hex();
    format!("{}/{hex}{EXTENSION}", &hex[..2])
}

impl PackageFiles {
    /// Opens or makes the directory, and removes what earlier uploads have left behind.
    pub(crate) async fn open(place: Place, max_len: u64) -> io::Result<Self> {
        let (dir, abandoned) = match place {
            Place::Own(dir) => (dir, Duration::ZERO),
            Place::Shared(dir) => (dir, ABANDONED),
        };
        let incoming = dir.join("incoming");
        fs::create_dir_all(&incoming).await?;
        let mut files = fs::read_dir(&incoming).await?;
        while let Some(file) = files.next_entry().await? {
            let age = match file.metadata().await.and_then(|about| about.modified()) {
                Ok(written) => written.elapsed().unwrap_or_default(),
                // It has just got its name.
                Err(_) => continue,
            };
            if age >= abandoned {
                fs::remove_file(file.path()).await?;
            }
        }
        Ok(Self { dir, max_len })
    }

    /// Where the file of a package is, or would be.
    pub(crate) fn path(&self, digest: &Sha256Digest) -> PathBuf {
        self.dir.join(place(digest))
    }

    /// Refuses an upload by the length that its client tells, before any of it is read.
    pub(crate) fn admit(&self, told: Option<u64>) -> Result<(), UploadError> {
        match told {
            Some(len) if len > self.max_len => Err(UploadError::TooLarge { max: self.max_len }),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes an upload: streams it to disk, hashes it on the way, verifies all of it, then gives it its name.
    pub(crate) async fn take(
        &self,
        body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
        now_ms: u64,
    ) -> Result<Package, UploadError> {
        let incoming = Incoming::new(self.dir.join("incoming").join(crate::id::random()));
        let (digest, size) = self.receive(body, &incoming.path).await?;
        let contents = verify(incoming.path.clone()).await?;
        let sequence = contents.header.sequence;
        if sequence > now_ms.saturating_add(SEQUENCE_AHEAD_MS) {
            return Err(UploadError::SequenceAhead { sequence, now_ms });
        }
        let target = self.path(&digest);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).await?;
            fs::rename(&incoming.path, &target).await?;
            sync_dir(parent).await?;
            sync_dir(&self.dir).await?;
        }
        Ok(describe(digest, size, &contents, now_ms))
    }

    async fn receive(
        &self,
        mut body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
        path: &Path,
    ) -> Result<(Sha256Digest, u64), UploadError> {
        let mut file = File::create_new(path).await?;
        let mut hasher = Sha256Hasher::new();
        let mut size = 0_u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(UploadError::Broken)?;
            size += piece.len() as u64;
            if size > self.max_len {
                return Err(UploadError::TooLarge { max: self.max_len });
            }
            hasher.update(&piece);
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        file.sync_all().await?;
        Ok((hasher.finish(), size))
    }
}

/// A file that is being uploaded; removed when the upload ends without it having got its final name.
struct Incoming {
    path: PathBuf,
}

impl Incoming {
    fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Gone already if it was renamed; anything else is tidied up at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads the whole package as a device would, save that it cannot look into an encrypted one. Decoding and hashing megabytes does not belong on the async threads.
async fn verify(path: PathBuf) -> Result<Contents, UploadError> {
    let verified = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(path)?;
        Ok::<_, io::Error>(read(io::BufReader::new(file), Trust::Anyone))
    });
    verified
        .await
        .map_err(io::Error::other)??
        .map_err(|error| match error {
            ReadError::Io { source, .. } => UploadError::Io(source),
            error => UploadError::Refused(error),
        })
}

fn describe(digest: Sha256Digest, size: u64, contents: &Contents, now_ms: u64) -> Package {
    let header = &contents.header;
    Package {
        digest,
        size,
        identity: contents.identity,
        image_sha256: header.image_sha256,
        image_len: header.image_len,
        product: header.product.to_string(),
        version: header.version.to_string(),
        chip: ChipId(header.chip_id).to_string(),
        sequence: header.sequence,
        security_version: header.security_version,
        key_id: header.key_id.to_string(),
        recipients: header.recipients,
        created: i64::try_from(header.created).unwrap_or(i64::MAX),
        uploaded_at: i64::try_from(now_ms / 1000).unwrap_or(i64::MAX),
        url: String::new(),
    }
}

/// Makes a rename in a directory durable.
#[cfg(unix)]
async fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir).await?.sync_all().await
}

/// Directories cannot be synchronised on their own here.
#[cfg(not(unix))]
async fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

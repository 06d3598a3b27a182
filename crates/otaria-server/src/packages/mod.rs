//! Packages, named by the SHA-256 of their content: files in a directory, or objects in a [bucket].
//!
//! ```text
//! PLACE/<first two digits>/<digest>.otaria    complete, verified, never changed
//! DIR/incoming/<name>                         being uploaded, always on disk; removed at the next start
//! ```
//! A package gets its final name only after all of it is on disk and verified, so a reader never sees half of one. The
//! server holds no keys: whose signature it is, and what is in an encrypted package, devices check.

mod bucket;
mod found;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use otaria_package::read::{Contents, ReadError, Trust, read};
use otaria_wire::esp_image::ChipId;
use otaria_wire::{Sha256Digest, Sha256Hasher};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::config::{Delivery, PackageStore};
use crate::model::Package;
pub(crate) use bucket::Bucket;
pub use bucket::BucketError;
use bucket::PutError;
pub(crate) use found::FindError;

/// Extension of package files and of their addresses.
pub(crate) const EXTENSION: &str = ".otaria";
/// How far a package's sequence may be ahead of the server's clock: a day, in milliseconds.
const SEQUENCE_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// The packages of a server.
#[derive(Debug)]
pub(crate) struct Packages {
    place: Place,
    /// Where uploads grow.
    incoming: PathBuf,
    max_len: u64,
    delivery: Delivery,
    /// Whether the bucket answered when it was last asked.
    reached: AtomicBool,
}

/// Where packages are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Directory(PathBuf),
    Bucket(Bucket),
}

/// How often it is asked whether the bucket is still there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(15);
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
    #[error("the package could not be stored")]
    Bucket(#[from] BucketError),
}

/// Why packages cannot be kept where they should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// The name of a package in the directory, or in the bucket.
pub(crate) fn place(digest: &Sha256Digest) -> String {
    let hex = digest.to_hex();
    format!("{}/{hex}{EXTENSION}", &hex[..2])
}

impl Packages {
    /// Opens or makes the place, and removes what earlier uploads have left behind.
    pub(crate) async fn open(
        store: PackageStore,
        data: &Path,
        max_len: u64,
        delivery: Delivery,
    ) -> Result<Self, OpenError> {
        let own = data.join("packages");
        let (dir, abandoned) = match &store {
            PackageStore::Own | PackageStore::Bucket(_) => (own, Duration::ZERO),
            PackageStore::Directory(dir) => (dir.clone(), ABANDONED),
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
        let place = match store {
            PackageStore::Own | PackageStore::Directory(_) => Place::Directory(dir),
            PackageStore::Bucket(url) => {
                let bucket = Bucket::new(url)?;
                bucket.try_out().await?;
                Place::Bucket(bucket)
            }
        };
        Ok(Self {
            place,
            incoming,
            max_len,
            delivery,
            reached: AtomicBool::new(true),
        })
    }

    /// Whether packages can be read and written, as far as is known.
    pub(crate) async fn is_ready(&self) -> bool {
        match &self.place {
            Place::Directory(_) => fs::metadata(&self.incoming).await.is_ok(),
            Place::Bucket(_) => self.reached.load(Ordering::Relaxed),
        }
    }

    /// Asks every now and then whether the bucket is still there, so that nobody who asks this server makes it ask.
    pub(crate) async fn watch(&self, every: Duration) {
        let Place::Bucket(bucket) = &self.place else {
            return;
        };
        loop {
            tokio::time::sleep(every).await;
            let looked = bucket.look().await;
            let before = self.reached.swap(looked.is_ok(), Ordering::Relaxed);
            match looked {
                Err(error) if before => tracing::error!("packages cannot be had: {error}"),
                Ok(()) if !before => tracing::info!("packages can be had again"),
                Ok(()) | Err(_) => {}
            }
        }
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
        let incoming = Incoming::new(self.incoming.join(crate::id::random()));
        let (digest, size) = self.receive(body, &incoming.path).await?;
        let contents = verify(incoming.path.clone()).await?;
        let sequence = contents.header.sequence;
        if sequence > now_ms.saturating_add(SEQUENCE_AHEAD_MS) {
            return Err(UploadError::SequenceAhead { sequence, now_ms });
        }
        self.keep(incoming, digest, size).await?;
        Ok(describe(digest, size, &contents, now_ms))
    }

    /// Gives a verified file its final name.
    async fn keep(
        &self,
        incoming: Incoming,
        digest: Sha256Digest,
        size: u64,
    ) -> Result<(), UploadError> {
        match &self.place {
            Place::Directory(dir) => {
                let target = dir.join(place(&digest));
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).await?;
                    fs::rename(&incoming.path, &target).await?;
                    sync_dir(parent).await?;
                    sync_dir(dir).await?;
                }
                Ok(())
            }
            Place::Bucket(bucket) => {
                let bucket = bucket.clone();
                // Goes on if the client goes away: an upload in parts that is dropped leaves them in the bucket.
                let put =
                    tokio::spawn(async move { bucket.put(&digest, &incoming.path, size).await });
                match put.await.map_err(io::Error::other)? {
                    Ok(()) => Ok(()),
                    Err(PutError::Io(error)) => Err(error.into()),
                    Err(PutError::Bucket(error)) => Err(error.into()),
                }
            }
        }
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

//! Packages in a bucket of an S3-compatible store (Amazon S3, MinIO, Garage, Ceph, R2, …).
//!
//! Objects have the names that files in a directory of packages have, below the bucket's prefix; they are written once and never
//! changed. An object is there whole or not at all: a large one is sent in parts, and gets its name when all of them are there.
//! The body of each request is signed with its SHA-256, which the store checks.

mod client;
mod error;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{
    BackoffConfig, GetOptions, GetRange, MultipartUpload, ObjectStore as _, ObjectStoreExt as _,
    PutPayload, RetryConfig,
};
use otaria_wire::Sha256Digest;
use otaria_wire::url::MAX_LOCATION_LEN;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::place;
use crate::config::BucketUrl;
use client::{Connector, Limits};
pub use error::BucketError;
use error::Why;

/// What is sent at a time, and so what an upload needs of memory. Stores take no smaller parts than 5 MiB.
const PART: u64 = 8 * 1024 * 1024;
/// A failed request is tried again at most so often, and not after [`RETRY_UNTIL`].
const RETRIES: usize = 3;
const RETRY_UNTIL: Duration = Duration::from_secs(15);
/// How long whoever asks for a package, or for whether it is there, waits for the bucket: devices wait 20 s for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The object that a server writes when it starts, and looks at while it works: below the prefix, and no package.
const MARK: &str = "otaria.txt";
const MARK_TEXT: &str = "otaria serve keeps packages here, and writes this when it starts.\n";

/// A bucket, and what is allowed there.
#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<AmazonS3>,
    url: BucketUrl,
}

impl Bucket {
    /// Whatever can be said without asking it.
    pub(crate) fn new(url: BucketUrl) -> Result<Self, BucketError> {
        let unusable = |why: String| BucketError::new(&url, Why::Settings(why));
        let connector =
            Connector::new(Limits::DEFAULT).map_err(|error| unusable(error.to_string()))?;
        let mut builder = AmazonS3Builder::new();
        for (key, value) in &url.settings {
            builder = builder.with_config(*key, value);
        }
        // Whoever writes http:// means it; TLS is asked for by writing https://.
        if url.is_plain() {
            builder = builder.with_allow_http(true);
        }
        let store = builder
            .with_bucket_name(&url.name)
            .with_http_connector(connector)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES,
                retry_timeout: RETRY_UNTIL,
            })
            .build()
            .map_err(|error| BucketError::of(&url, &error))?;
        Ok(Self {
            store: Arc::new(store),
            url,
        })
    }

    /// Writes and reads, so that whatever is wrong is said at the start and not at the first upload.
    pub(crate) async fn try_out(&self) -> Result<(), BucketError> {
        self.write_mark().await?;
        self.look().await
    }

    /// Reads a little, and puts it there again if somebody has taken it away.
    pub(crate) async fn look(&self) -> Result<(), BucketError> {
        match self.soon(self.store.head(&self.path(MARK))).await? {
            Ok(_) => Ok(()),
            // A store says of what is not there that one may not see it, if one may not see what is.
            Err(
                object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. },
            ) => self.write_mark().await,
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn write_mark(&self) -> Result<(), BucketError> {
        let text = PutPayload::from_static(MARK_TEXT.as_bytes());
        let written = self.soon(self.store.put(&self.path(MARK), text)).await?;
        written.map(|_| ()).map_err(|error| self.error(&error))
    }

    /// Where the object of a package is.
    fn path(&self, name: &str) -> Path {
        match self.url.prefix.as_str() {
            "" => Path::from(name),
            prefix => Path::from(format!("{prefix}/{name}")),
        }
    }

    /// What the store answers, if it answers soon.
    async fn soon<T>(
        &self,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<object_store::Result<T>, BucketError> {
        let late = |_| BucketError::new(&self.url, Why::Failed("no answer in 15 s".to_owned()));
        tokio::time::timeout(PATIENCE, asked).await.map_err(late)
    }

    fn error(&self, error: &object_store::Error) -> BucketError {
        BucketError::of(&self.url, error)
    }

    /// Whether a package of this length is there.
    pub(crate) async fn check(&self, digest: &Sha256Digest, len: u64) -> Result<(), BucketError> {
        let there = self
            .soon(self.store.head(&self.path(&place(digest))))
            .await?;
        let there = there.map_err(|error| self.error(&error))?.size;
        match there == len {
            true => Ok(()),
            false => Err(BucketError::new(&self.url, Why::Length { there, len })),
        }
    }

    /// Puts a file of `len` bytes there as the object of a package.
    pub(crate) async fn put(
        &self,
        digest: &Sha256Digest,
        file: &FilePath,
        len: u64,
    ) -> Result<(), PutError> {
        let path = self.path(&place(digest));
        let mut file = File::open(file).await?;
        if len <= PART {
            let all = part(&mut file).await?;
            self.store
                .put(&path, all)
                .await
                .map_err(|error| self.error(&error))?;
        } else {
            let mut upload = self
                .store
                .put_multipart(&path)
                .await
                .map_err(|error| self.error(&error))?;
            if let Err(error) = self.put_parts(&mut *upload, file).await {
                // What cannot be taken back the bucket's own rule for unfinished uploads removes.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        Ok(self.check(digest, len).await?)
    }

    async fn put_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        mut file: File,
    ) -> Result<(), PutError> {
        loop {
            let part = part(&mut file).await?;
            if part.content_length() == 0 {
                break;
            }
            let sent = upload.put_part(part).await;
            sent.map_err(|error| self.error(&error))?;
        }
        let done = upload.complete().await;
        done.map(|_| ()).map_err(|error| self.error(&error).into())
    }

    /// The bytes `range` of a package of `len` bytes.
    pub(crate) async fn read(
        &self,
        digest: &Sha256Digest,
        len: u64,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, BucketError> {
        let options = GetOptions {
            range: (range != (0..len)).then_some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let path = self.path(&place(digest));
        let object = self.soon(self.store.get_opts(&path, options)).await?;
        let object = object.map_err(|error| self.error(&error))?;
        let there = object.meta.size;
        if there != len {
            return Err(BucketError::new(&self.url, Why::Length { there, len }));
        }
        let url = self.url.clone();
        Ok(object.into_stream().map_err(move |error| {
            let error = BucketError::of(&url, &error);
            tracing::warn!("a download broke off: {error}");
            io::Error::other(error)
        }))
    }

    /// An address at which a package can be had for a while without a key of the bucket's; nothing if it is longer than devices
    /// read. Signing asks nobody, unless the key is a temporary one that has to be renewed.
    pub(crate) async fn link(
        &self,
        method: Method,
        digest: &Sha256Digest,
        valid: Duration,
    ) -> Result<Option<String>, BucketError> {
        let path = self.path(&place(digest));
        let link = self
            .soon(self.store.signed_url(method, &path, valid))
            .await?;
        let link = String::from(link.map_err(|error| self.error(&error))?);
        Ok((link.len() <= MAX_LOCATION_LEN).then_some(link))
    }
}

/// Without keys.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.url).finish()
    }
}

/// Why a file does not come into the bucket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// The next bytes of a file, at most [`PART`]; empty at its end.
async fn part(file: &mut File) -> io::Result<PutPayload> {
    let mut bytes = Vec::new();
    file.take(PART).read_to_end(&mut bytes).await?;
    Ok(PutPayload::from(bytes))
}

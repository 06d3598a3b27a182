//! A package that is asked for: where its bytes are, and how whoever asked gets them.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;

use axum::http::Method;
use bytes::Bytes;
use futures_util::Stream;
use otaria_wire::Sha256Digest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{Bucket, BucketError, Packages, Place, place};
use crate::config::Delivery;
use crate::store::{Store, StoreError};

/// Bytes read from disk at a time.
const CHUNK: usize = 32 * 1024;

/// The bytes of a package, or of a part of it.
pub(crate) type Bytestream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A package that is there.
pub(crate) struct Found<'p> {
    packages: &'p Packages,
    digest: Sha256Digest,
    /// Its length in bytes.
    pub(crate) len: u64,
    content: Content<'p>,
}

enum Content<'p> {
    File(File),
    Object(&'p Bucket),
}

/// Why a package cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Packages {
    /// Looks for a package. In a bucket nothing is asked yet: what `store` knows was there when it came to know it.
    pub(crate) async fn find(
        &self,
        digest: Sha256Digest,
        store: &Store,
    ) -> Result<Option<Found<'_>>, FindError> {
        let (content, len) = match &self.place {
            Place::Directory(dir) => {
                let file = match File::open(dir.join(place(&digest))).await {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                let len = file.metadata().await?.len();
                (Content::File(file), len)
            }
            Place::Bucket(bucket) => match store.package(&digest).await? {
                Some(package) => (Content::Object(bucket), package.size),
                None => return Ok(None),
            },
        };
        Ok(Some(Found {
            packages: self,
            digest,
            len,
            content,
        }))
    }
}

impl Found<'_> {
    /// Where else whoever asks is to get it. Made for this request alone: never to be stored, declared or logged.
    pub(crate) async fn elsewhere(&self, method: &Method) -> Result<Option<String>, FindError> {
        match (&self.packages.delivery, &self.content) {
            (Delivery::Stream, _) | (Delivery::Links { .. }, Content::File(_)) => Ok(None),
            (Delivery::Cdn(url), _) => Ok(Some(format!("{url}/{}", place(&self.digest)))),
            (Delivery::Links { valid }, Content::Object(bucket)) => {
                let link = bucket.link(method.clone(), &self.digest, *valid).await?;
                if link.is_none() {
                    tracing::warn!(
                        "a link to the bucket is longer than devices read, so the server sends the package itself; use a key \
                         whose session token is shorter, or none"
                    );
                }
                Ok(link)
            }
        }
    }

    /// The bytes of `range`, which lies in the package.
    pub(crate) async fn read(self, range: Range<u64>) -> Result<Bytestream, FindError> {
        match self.content {
            Content::File(mut file) => {
                file.seek(SeekFrom::Start(range.start)).await?;
                let part = file.take(range.end - range.start);
                Ok(Box::pin(ReaderStream::with_capacity(part, CHUNK)))
            }
            Content::Object(bucket) => {
                let object = bucket.read(&self.digest, self.len, range).await?;
                Ok(Box::pin(object))
            }
        }
    }
}

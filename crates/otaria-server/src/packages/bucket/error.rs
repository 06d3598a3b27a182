//! Why a bucket does not do what it is asked, in words that say what to do.

use std::error::Error;

use crate::config::BucketUrl;

/// Longest text of a store's that is passed on.
const MAX_TEXT: usize = 200;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{bucket}{endpoint}: {why}")]
pub struct BucketError {
    bucket: String,
    endpoint: String,
    why: Why,
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error("it cannot be used: {0}")]
    Settings(String),
    #[error(
        "it refuses this server ({0}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the clock, and that the \
         key may s3:GetObject, s3:PutObject and s3:AbortMultipartUpload there; stores answer so, too, for an object that is gone, if \
         the key may not s3:ListBucket"
    )]
    Refused(String),
    #[error("there is no such bucket: make it, or check its name, AWS_REGION and AWS_ENDPOINT_URL")]
    NoBucket,
    #[error("the object is not there (any more): upload the package again")]
    Missing,
    #[error("an object there has {there} bytes instead of {len}: upload the package again")]
    Length { there: u64, len: u64 },
    #[error(
        "it cannot be reached, or does not answer as it should ({0}): check AWS_ENDPOINT_URL, AWS_REGION and the network"
    )]
    Failed(String),
}

impl BucketError {
    pub(super) fn new(url: &BucketUrl, why: Why) -> Self {
        Self {
            bucket: url.to_string(),
            endpoint: url
                .endpoint()
                .map(|at| format!(" at {at}"))
                .unwrap_or_default(),
            why,
        }
    }

    pub(super) fn of(url: &BucketUrl, error: &object_store::Error) -> Self {
        Self::new(url, why(error))
    }

    /// Whether only an object is missing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.why, Why::Missing)
    }
}

fn why(error: &object_store::Error) -> Why {
    use object_store::Error as Of;
    let text = chain(error);
    let code = between(&text, "<Code>", "</Code>");
    if code == Some("NoSuchBucket") {
        return Why::NoBucket;
    }
    match error {
        Of::NotFound { .. } => Why::Missing,
        Of::PermissionDenied { .. } => Why::Refused(code.unwrap_or("403").to_owned()),
        Of::Unauthenticated { .. } => Why::Refused(code.unwrap_or("401").to_owned()),
        // Never all of a store's answer: it may repeat what was signed.
        _ => Why::Failed(match code {
            Some(code) => code.to_owned(),
            None => root(error),
        }),
    }
}

/// The text of an error and of all that caused it.
fn chain(error: &dyn Error) -> String {
    crate::http::chain(error)
}

/// The first cause.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().take(MAX_TEXT).collect()
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

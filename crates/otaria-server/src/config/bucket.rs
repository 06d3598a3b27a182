//! Which bucket packages are in, and how it is reached.

use std::fmt;
use std::str::FromStr;

use object_store::aws::AmazonS3ConfigKey;

/// A bucket of an S3-compatible store: `s3://BUCKET[/PREFIX]`, and what the environment says of the store, as for other programs:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ….
#[derive(Clone, PartialEq, Eq)]
pub struct BucketUrl {
    pub(crate) name: String,
    /// Without a slash at its ends.
    pub(crate) prefix: String,
    pub(crate) settings: Vec<(AmazonS3ConfigKey, String)>,
}

/// Why a text is not the address of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketUrlError {
    /// Another scheme, or none.
    #[error("a bucket's address starts with s3://")]
    Scheme,
    /// No name of a bucket.
    #[error("'{0}' is no name of a bucket: 3 to 63 small letters, digits, dots and hyphens")]
    Name(String),
    /// No prefix.
    #[error(
        "'{0}' cannot be a prefix in a bucket: letters, digits, and - _ . between single slashes"
    )]
    Prefix(String),
}

impl BucketUrl {
    /// The address, with settings of the store by the names of their environment variables. Others are passed over.
    ///
    /// # Errors
    /// See [`BucketUrlError`].
    pub fn new(
        address: &str,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BucketUrlError> {
        let rest = address.strip_prefix("s3://");
        let rest = rest.ok_or(BucketUrlError::Scheme)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        };
        if !(3..=63).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(BucketUrlError::Name(name.to_owned()));
        }
        let prefix = prefix.trim_end_matches('/');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(allowed);
        if !prefix.is_empty() && !prefix.split('/').all(part) {
            return Err(BucketUrlError::Prefix(prefix.to_owned()));
        }
        let settings = settings.into_iter().filter_map(|(name, value)| {
            let known = name.starts_with("AWS_") && !value.is_empty();
            let key = known.then(|| AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()));
            Some((key?.ok()?, value))
        });
        Ok(Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            settings: settings.collect(),
        })
    }

    /// The address, with the settings of this process's environment.
    ///
    /// # Errors
    /// See [`BucketUrlError`].
    pub fn from_env(address: &str) -> Result<Self, BucketUrlError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::new(address, std::env::vars_os().filter_map(text))
    }

    /// Where the store is, if it is not Amazon's.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        let of = |wanted| {
            let found = self.settings.iter().find(|(key, _)| *key == wanted);
            found.map(|(_, value)| value.as_str())
        };
        of(AmazonS3ConfigKey::S3Endpoint).or_else(|| of(AmazonS3ConfigKey::Endpoint))
    }

    /// Whether it is reached without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.endpoint().is_some_and(|at| at.starts_with("http://"))
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.name, self.prefix)
    }
}

/// Without keys.
impl fmt::Debug for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_bucket_and_a_prefix() {
        for (address, shown) in [
            ("s3://packages", "s3://packages"),
            ("s3://packages/", "s3://packages"),
            (
                "s3://my.packages-1/ota/Line_2/",
                "s3://my.packages-1/ota/Line_2",
            ),
        ] {
            let url = BucketUrl::new(address, []).unwrap();
            assert_eq!(url.to_string(), shown);
        }
        for bad in [
            "packages",
            "https://packages",
            "s3://",
            "s3://ab",
            "s3://Packages",
            "s3://pack ages",
            "s3://packages//x",
            "s3://packages/../x",
            "s3://packages/x?y",
            "s3://packages/ä",
        ] {
            assert!(BucketUrl::new(bad, []).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_environment_says_where_the_store_is_and_no_key_is_shown() {
        let settings = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_PROFILE", "someone"),
            ("AWS_SESSION_TOKEN", ""),
            ("HOME", "/root"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = BucketUrl::new("s3://packages", settings).unwrap();
        assert_eq!(url.endpoint(), Some("http://127.0.0.1:9000"));
        assert!(url.is_plain());
        assert_eq!(url.settings.len(), 2);
        assert!(!format!("{url:?} {url}").contains("hush"));
    }
}

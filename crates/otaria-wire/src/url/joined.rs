//! A URL that is put together from another one and a Location.

use heapless::String;

use super::{MAX_LOCATION_LEN, Scheme, UrlError};

/// A URL that is being put together.
pub(super) struct Joined<'j>(pub(super) &'j mut String<MAX_LOCATION_LEN>);

impl Joined<'_> {
    pub(super) fn push(&mut self, part: &str) -> Result<(), UrlError> {
        self.0.push_str(part).map_err(|_| UrlError::TooLong)
    }

    /// Adds scheme, and the rest of a URL behind its `//`.
    pub(super) fn authority(&mut self, scheme: Scheme, rest: &str) -> Result<(), UrlError> {
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(authority_len).ok_or(UrlError::Host)?;
        self.push(scheme.as_str())?;
        self.push("://")?;
        self.push(authority)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        self.path(path)?;
        self.query(query)
    }

    pub(super) fn query(&mut self, query: Option<&str>) -> Result<(), UrlError> {
        match query {
            Some(query) => {
                self.push("?")?;
                self.push(query)
            }
            None => Ok(()),
        }
    }

    pub(super) fn path(&mut self, path: &str) -> Result<(), UrlError> {
        self.path_of_two("", path.strip_prefix('/').unwrap_or(path))
    }

    /// Adds `directory/path` without dot segments (RFC 3986, section 5.2.4).
    pub(super) fn path_of_two(&mut self, directory: &str, path: &str) -> Result<(), UrlError> {
        let start = self.0.len();
        let directories = directory.split('/').skip(1);
        let mut segments = directories.chain(path.split('/')).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                "." | ".." => {
                    if segment == ".." {
                        let parent = self
                            .0
                            .get(start..)
                            .and_then(|so_far| so_far.rfind('/'))
                            .unwrap_or(0);
                        self.0.truncate(start.saturating_add(parent));
                    }
                    if last {
                        self.push("/")?;
                    }
                }
                _ => {
                    self.push("/")?;
                    self.push(segment)?;
                }
            }
        }
        Ok(())
    }
}

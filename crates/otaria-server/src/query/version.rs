//! Versions, as people order them.

use std::cmp::Ordering;

/// Which of two versions is newer: numbers count as numbers, a missing one is 0, what follows a `-` comes before the
/// release (as in semantic versioning), what follows a `+` does not count, and a leading `v` neither.
///
/// ```
/// use std::cmp::Ordering;
/// use otaria_server::query::compare_versions;
///
/// assert_eq!(compare_versions("1.10.0", "1.9"), Ordering::Greater);
/// assert_eq!(compare_versions("v1.2", "1.2.0+abc"), Ordering::Equal);
/// assert_eq!(compare_versions("1.2.0-rc2", "1.2.0"), Ordering::Less);
/// ```
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    in_order(a.0, b.0, "0").then_with(|| match (a.1, b.1) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => in_order(a, b, ""),
    })
}

/// The release, and what stands before it.
fn parts(version: &str) -> (&str, Option<&str>) {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let version = version.split('+').next().unwrap_or_default();
    match version.split_once('-') {
        Some((release, pre)) => (release, Some(pre)),
        None => (version, None),
    }
}

fn in_order(a: &str, b: &str, missing: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (left, right) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => (left.unwrap_or(missing), right.unwrap_or(missing)),
        };
        let order = one(left, right);
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Numbers come before words, as in semantic versioning; nothing comes before both.
fn one(a: &str, b: &str) -> Ordering {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match (is_number(a), is_number(b)) {
        (true, true) => {
            // As long as they like: a date and a time is a number, too.
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (true, false) if !b.is_empty() => Ordering::Less,
        (false, true) if !a.is_empty() => Ordering::Greater,
        _ => a.cmp(b),
    }
}

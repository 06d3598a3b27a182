//! Whether a device is meant.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use otaria_wire::messages::State;

use super::{Comparison, Expr, Field, Query, Value, compare_versions};
use crate::model::Status;

/// What is known of a device.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whether it is connected.
    pub online: bool,
    /// When it last reported, unix seconds.
    pub last_seen: Option<i64>,
    /// Its newest state message.
    pub state: Option<&'a State>,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// Its groups.
    pub groups: &'a [String],
    /// How far it is with its newest job.
    pub status: Option<Status>,
    /// Unix seconds.
    pub now: i64,
}

impl Query {
    /// Whether the device is one of those that are meant.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        holds(&self.root, facts)
    }
}

fn holds(expr: &Expr, facts: &Facts<'_>) -> bool {
    match expr {
        Expr::All => true,
        Expr::Online(online) => facts.online == *online,
        Expr::Not(inner) => !holds(inner, facts),
        Expr::And(parts) => parts.iter().all(|part| holds(part, facts)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, facts)),
        Expr::Tagged(key) => facts.tags.contains_key(key),
        Expr::Tag(key, comparison, value) => facts
            .tags
            .get(key)
            .is_some_and(|tag| equal(*comparison, like(value, tag))),
        Expr::Compare(field, comparison, value) => compare(*field, *comparison, value, facts),
    }
}

fn compare(field: Field, comparison: Comparison, value: &Value, facts: &Facts<'_>) -> bool {
    let text = |known: Option<&str>| match (known, value) {
        (Some(known), Value::Text(wanted)) => equal(comparison, like(wanted, known)),
        _ => false,
    };
    let number = |known: Option<i64>| match (known, value) {
        (Some(known), Value::Number(wanted) | Value::Age(wanted)) => {
            ordered(comparison, known.cmp(wanted))
        }
        _ => false,
    };
    let state = facts.state;
    match field {
        Field::Id => text(Some(facts.id)),
        Field::Product => text(state.map(|state| state.product.as_str())),
        Field::Chip => text(state.map(|state| state.chip.as_str())),
        Field::Image => {
            let image = state.map(|state| state.image_sha256.to_string());
            text(image.as_deref())
        }
        Field::Status => text(facts.status.map(Status::name)),
        Field::Phase => text(state.map(|state| state.phase.name())),
        Field::Reset => text(state.map(|state| state.reset.name())),
        Field::Group => match value {
            Value::Text(wanted) => {
                let within = facts.groups.iter().any(|group| like(wanted, group));
                equal(comparison, within)
            }
            _ => false,
        },
        Field::Version => match (state, value) {
            (Some(state), Value::Text(wanted)) => {
                ordered(comparison, compare_versions(state.version.as_str(), wanted))
            }
            _ => false,
        },
        Field::ChipRev => number(state.map(|state| state.chip_rev.into())),
        Field::Rssi => number(state.and_then(|state| state.rssi).map(i64::from)),
        Field::Heap => number(state.map(|state| state.heap_free.into())),
        Field::HeapMin => number(state.map(|state| state.heap_min.into())),
        Field::Uptime => number(state.map(|state| state.uptime_s.into())),
        Field::Boot => number(state.map(|state| state.boot.into())),
        Field::SecurityVersion => number(state.map(|state| state.security_version.into())),
        Field::Slot => number(state.map(|state| state.slot.into())),
        Field::Seen => number(facts.last_seen.map(|seen| facts.now - seen)),
    }
}

fn equal(comparison: Comparison, is: bool) -> bool {
    match comparison {
        Comparison::Equal => is,
        Comparison::NotEqual => !is,
        // The parser lets nothing else come here.
        Comparison::Less
        | Comparison::LessOrEqual
        | Comparison::Greater
        | Comparison::GreaterOrEqual => false,
    }
}

fn ordered(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// Whether a text is like a pattern in which `*` stands for any characters. Takes time in proportion to both lengths at
/// most, whatever the pattern: of several ways only the last `*` is tried again.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

//! Whether what was asked for makes sense. Pure.

use super::window;
use crate::model::{Gate, RolloutSpec};
use crate::query::{Query, QueryError};

/// Longest name: a job's name is this, a dot and the number of the offer, and has room for 64.
const MAX_NAME: usize = 48;
/// Waves of a rollout.
const MAX_WAVES: usize = 32;

/// Why a rollout cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("a rollout's name is 1 to {MAX_NAME} letters, digits, '_', '-' or '.'")]
    Name,
    #[error("the query of {0}: {1}")]
    Query(String, #[source] QueryError),
    #[error("a rollout has at most {MAX_WAVES} waves")]
    Waves,
    #[error("{0} takes a count or a percentage, not both")]
    Both(String),
    #[error("{what} is {value}, and has to be {has_to_be}")]
    Range {
        what: String,
        value: String,
        has_to_be: &'static str,
    },
    #[error("{0} cannot be spread over '{1}': it is chip_rev, chip, version, or a tag as tag:NAME")]
    Spread(String, String),
    #[error("there is no time zone '{0}'; it is a name such as Europe/Berlin, or +02:00")]
    Zone(String),
}

/// What devices are spread over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    ChipRev,
    Chip,
    Version,
    Tag(String),
}

impl Spread {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "chip_rev" => Some(Self::ChipRev),
            "chip" => Some(Self::Chip),
            "version" => Some(Self::Version),
            _ => text
                .strip_prefix("tag:")
                .filter(|name| !name.is_empty())
                .map(|name| Self::Tag(name.to_owned())),
        }
    }
}

/// A rollout that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) spec: RolloutSpec,
    pub(crate) target: Query,
    /// For each wave.
    pub(crate) only: Vec<Option<Query>>,
    pub(crate) spread: Vec<Option<Spread>>,
}

/// Checks everything that does not need the fleet, and names what has no name.
pub(crate) fn check(mut spec: RolloutSpec) -> Result<Checked, SpecError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    // `plan` is an address of its own.
    if spec.name == "plan" {
        return Err(SpecError::Name);
    }
    if spec.name.is_empty() || spec.name.len() > MAX_NAME || !spec.name.chars().all(plain) {
        return Err(SpecError::Name);
    }
    let query = |of: &str, text: &str| {
        text.parse::<Query>()
            .map_err(|error| SpecError::Query(of.to_owned(), error))
    };
    let target = query("the target", &spec.target)?;
    if spec.waves.len() > MAX_WAVES {
        return Err(SpecError::Waves);
    }
    if spec.waves.is_empty() {
        spec.waves.push(crate::model::Wave {
            name: "all".to_owned(),
            gate: Gate::default(),
            ..Default::default()
        });
    }
    let (mut only, mut spread) = (Vec::new(), Vec::new());
    for (index, wave) in spec.waves.iter_mut().enumerate() {
        if wave.name.is_empty() {
            wave.name = format!("wave-{}", index + 1);
        }
        let name = format!("wave '{}'", wave.name);
        if wave.count.is_some() && wave.percent.is_some() {
            return Err(SpecError::Both(name));
        }
        if wave.count == Some(0) {
            return Err(range(format!("count of {name}"), 0, "at least 1"));
        }
        if let Some(percent) = wave.percent {
            percentage(format!("percent of {name}"), percent, false)?;
        }
        percentage(
            format!("gate.confirmed of {name}"),
            wave.gate.confirmed,
            true,
        )?;
        only.push(match &wave.only {
            Some(text) => Some(query(&name, text)?),
            None => None,
        });
        spread.push(match &wave.spread {
            Some(text) => Some(
                Spread::parse(text).ok_or_else(|| SpecError::Spread(name.clone(), text.clone()))?,
            ),
            None => None,
        });
    }
    let halt = &spec.halt;
    for (what, value) in [
        ("halt.percent", halt.percent),
        ("halt.baseline", halt.baseline),
    ] {
        if let Some(value) = value {
            percentage(what.to_owned(), value, false)?;
        }
    }
    percentage("halt.false_alarm".to_owned(), halt.false_alarm, false)?;
    if halt.failures == Some(0) {
        return Err(range("halt.failures".to_owned(), 0, "at least 1"));
    }
    if !(halt.worse > 1.0 && halt.worse <= 1000.0) {
        return Err(range(
            "halt.worse".to_owned(),
            halt.worse,
            "more than 1, at most 1000",
        ));
    }
    if spec.limits.concurrent == 0 {
        return Err(range("limits.concurrent".to_owned(), 0, "at least 1"));
    }
    if spec.limits.bytes_per_second.is_some_and(|rate| rate.0 == 0) {
        return Err(range("limits.bytes_per_second".to_owned(), 0, "at least 1"));
    }
    let timeouts = &spec.timeouts;
    for (what, value) in [
        ("timeouts.start", timeouts.start),
        ("timeouts.download", timeouts.download),
        ("timeouts.reboot", timeouts.reboot),
        ("timeouts.trial", timeouts.trial),
    ] {
        if value.0 == 0 {
            return Err(range(what.to_owned(), value, "at least 1s"));
        }
    }
    if let Some(window) = &spec.window
        && window::zone(&window.tz).is_none()
    {
        return Err(SpecError::Zone(window.tz.clone()));
    }
    Ok(Checked {
        spec,
        target,
        only,
        spread,
    })
}

fn percentage(what: String, value: f64, from_zero: bool) -> Result<(), SpecError> {
    let (good, has_to_be) = match from_zero {
        true => ((0.0..=100.0).contains(&value), "from 0 to 100"),
        false => (value > 0.0 && value <= 100.0, "more than 0, at most 100"),
    };
    if good {
        Ok(())
    } else {
        Err(range(what, value, has_to_be))
    }
}

fn range(what: String, value: impl ToString, has_to_be: &'static str) -> SpecError {
    SpecError::Range {
        what,
        value: value.to_string(),
        has_to_be,
    }
}

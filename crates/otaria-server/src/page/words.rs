//! Values as people read and write them.

use std::fmt::Write as _;
use std::str::FromStr;

use askama::Template;
use serde::Serialize;

use crate::http::{Answer, Fault};
use crate::model::{RolloutState, Stage, StageCounts, Status};

/// A word with a tone for its colour and sign: `good`, `bad`, `busy`, `warn` or nothing.
pub(super) struct Mark {
    pub(super) word: String,
    pub(super) tone: &'static str,
}

impl Mark {
    pub(super) fn presence(online: bool) -> Self {
        let (word, tone) = if online {
            ("online", "good")
        } else {
            ("offline", "")
        };
        Self {
            word: word.to_owned(),
            tone,
        }
    }
}

impl From<Status> for Mark {
    fn from(status: Status) -> Self {
        let tone = match status {
            Status::Succeeded => "good",
            Status::RolledBack | Status::Failed | Status::Refused => "bad",
            Status::Running | Status::Trial | Status::Cancelling => "busy",
            Status::Retrying => "warn",
            Status::Pending | Status::Cancelled | Status::Superseded => "",
        };
        Self {
            word: status.to_string(),
            tone,
        }
    }
}

impl From<RolloutState> for Mark {
    fn from(state: RolloutState) -> Self {
        let tone = match state {
            RolloutState::Running => "busy",
            RolloutState::Paused => "warn",
            RolloutState::Halted => "bad",
            RolloutState::Done => "good",
            RolloutState::Cancelled => "",
        };
        Self {
            word: state.to_string(),
            tone,
        }
    }
}

impl From<Stage> for Mark {
    fn from(stage: Stage) -> Self {
        let tone = match stage {
            Stage::Confirmed => "good",
            Stage::Failed => "bad",
            Stage::Offered | Stage::Working | Stage::Rebooting | Stage::Trial => "busy",
            Stage::Waiting | Stage::Left => "",
        };
        Self {
            word: stage.to_string(),
            tone,
        }
    }
}

struct Part {
    tone: &'static str,
    from: String,
    width: String,
}

#[derive(Template)]
#[template(path = "bar.html")]
struct Bar {
    label: String,
    parts: Vec<Part>,
}

/// A bar that shows how many devices are how far; markup.
pub(super) fn bar(counts: &StageCounts) -> String {
    let shown = [
        ("good", counts.confirmed),
        ("bad", counts.failed),
        ("left", counts.left),
        ("busy", counts.in_flight),
    ];
    #[expect(clippy::cast_precision_loss, reason = "it is drawn")]
    let share = |devices: u64| devices as f64 * 100.0 / counts.devices.max(1) as f64;
    let mut before = 0;
    let parts = shown.into_iter().map(|(tone, devices)| {
        let part = Part {
            tone,
            from: format!("{:.2}", share(before)),
            width: format!("{:.2}", share(devices)),
        };
        before += devices;
        part
    });
    let bar = Bar {
        label: format!(
            "{} of {} confirmed, {} failed, {} at it",
            counts.confirmed, counts.devices, counts.failed, counts.in_flight
        ),
        parts: parts.collect(),
    };
    bar.render().unwrap_or_default()
}

/// The name that a value has in JSON.
pub(super) fn name(of: &impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " "),
        _ => String::new(),
    }
}

/// A field's value; nothing for an empty one.
pub(super) fn field<T: FromStr>(label: &str, text: &str) -> Answer<Option<T>> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Fault::bad_request(format!("'{label}' cannot be '{text}'"))),
    }
}

/// What is wrong, for a page that shows the form again.
pub(super) fn complaint(fault: &Fault) -> String {
    let problem = fault.problem();
    format!("{}: {}", problem.title, problem.detail)
}

/// How long ago.
pub(super) fn ago(then: Option<i64>, now: i64) -> String {
    let Some(then) = then else {
        return "never".to_owned();
    };
    match (now - then).max(0) {
        0..=4 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds.unsigned_abs())),
    }
}

/// A time of some length.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A moment, in UTC.
pub(super) fn moment(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(
        |_| at.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// A number of bytes.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..=999 => format!("{count} B"),
        1000..=999_999 => format!("{}.{} kB", count / 1000, count % 1000 / 100),
        _ => format!("{}.{} MB", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// A text as the value of a query's parameter.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (then, text) in [
            (None, "never"),
            (Some(1_000_000), "now"),
            (Some(1_000_010), "now"),
            (Some(999_940), "60 s ago"),
            (Some(999_000), "16 min ago"),
            (Some(990_000), "2 h ago"),
            (Some(0), "11 days ago"),
        ] {
            assert_eq!(ago(then, 1_000_000), text);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_done() {
        let counts = StageCounts {
            devices: 8,
            confirmed: 4,
            failed: 2,
            ..StageCounts::default()
        };
        let bar = bar(&counts);
        assert!(
            bar.contains(r#"class="good" x="0.00" y="0" width="50.00""#),
            "{bar}"
        );
        assert!(
            bar.contains(r#"class="bad" x="50.00" y="0" width="25.00""#),
            "{bar}"
        );
    }

    #[test]
    fn no_character_of_a_query_ends_its_parameter() {
        assert_eq!(encoded("a<1&b=\"é\"#"), "a%3C1%26b%3D%22%C3%A9%22%23");
    }
}

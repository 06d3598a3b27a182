//! What comes from the broker, read: topic and payload to [`Report`]. Applying reports is the store's business.

use otaria_wire::messages::{
    Desired, Event, JsonError, LogLine, MessageError, Presence, Progress, State, from_json,
};
use otaria_wire::topics::{self, DeviceId, Topic};

/// A report of one device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) device: DeviceId,
    /// The broker sent it from its store, so it says nothing about now.
    pub(crate) retained: bool,
    pub(crate) what: What,
}

impl Report {
    /// Whether it is right in any order among other devices' reports, and changes nothing but what is known of its device.
    pub(crate) const fn is_unordered(&self) -> bool {
        match self.what {
            What::Event(_) | What::Progress(_) | What::Log(_) => true,
            What::Presence(_) | What::State(_) | What::Wish(_) => false,
        }
    }
}

/// What is reported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Presence(Presence),
    State(Box<State>),
    Progress(Progress),
    Event(Box<Event>),
    /// Lines of the flash log; a message has one or more, one JSON object a line.
    Log(Vec<LogLine>),
    /// Somebody has declared something for the device, or cleared it.
    Wish(Option<Wished>),
}

/// A declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wished {
    pub(crate) job: Option<String>,
    pub(crate) payload: String,
}

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IngestError {
    #[error("the topic is none that the server reads")]
    Topic,
    #[error("{0}")]
    Json(JsonError),
    #[error("{0}")]
    Desired(MessageError),
    #[error("the state names another device than its topic")]
    OtherDevice,
}

impl From<JsonError> for IngestError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// Reads a message. `Ok(None)` is a retained report that was cleared: it says nothing.
pub(crate) fn parse(
    root: &str,
    topic: &str,
    payload: &[u8],
    retained: bool,
) -> Result<Option<Report>, IngestError> {
    let (device, topic) = topics::parse(root, topic).ok_or(IngestError::Topic)?;
    let device = DeviceId::new(device).map_err(|_| IngestError::Topic)?;
    if payload.is_empty() && topic != Topic::Desired {
        return Ok(None);
    }
    let what = match topic {
        Topic::Presence => What::Presence(from_json(payload)?),
        Topic::State => {
            let state: State = from_json(payload)?;
            if state.device != device {
                return Err(IngestError::OtherDevice);
            }
            What::State(Box::new(state))
        }
        Topic::Progress => What::Progress(from_json(payload)?),
        Topic::Event => What::Event(Box::new(from_json(payload)?)),
        Topic::Log => What::Log(lines(payload)?),
        Topic::Desired => What::Wish(wish(payload)?),
        Topic::Cmd | Topic::Keys => return Err(IngestError::Topic),
    };
    Ok(Some(Report {
        device,
        retained,
        what,
    }))
}

/// All lines that can be read; an error only if none can.
fn lines(payload: &[u8]) -> Result<Vec<LogLine>, IngestError> {
    let mut lines = Vec::new();
    let mut failed = None;
    for line in payload.split(|byte| *byte == b'\n') {
        match from_json(line) {
            _ if line.trim_ascii().is_empty() => {}
            Ok(line) => lines.push(line),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if lines.is_empty() => Err(error.into()),
        Some(_) | None => Ok(lines),
    }
}

fn wish(payload: &[u8]) -> Result<Option<Wished>, IngestError> {
    let Some(desired) = Desired::parse(payload).map_err(IngestError::Desired)? else {
        return Ok(None);
    };
    let payload =
        std::str::from_utf8(payload).map_err(|_| IngestError::Desired(MessageError::NotUtf8))?;
    Ok(Some(Wished {
        job: desired.job.map(|job| job.as_str().to_owned()),
        payload: payload.trim_ascii().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(topic: &str, payload: &str) -> Result<Option<Report>, IngestError> {
        parse("otaria", topic, payload.as_bytes(), false)
    }

    #[test]
    fn messages_of_devices_are_read_by_their_topic() {
        let report = read("otaria/v1/a/presence", r#"{"online":true}"#)
            .unwrap()
            .unwrap();
        assert_eq!(report.device.as_str(), "a");
        assert_eq!(report.what, What::Presence(Presence { online: true }));
        let report = read("otaria/v1/a/desired", " http://h/a.otaria\n")
            .unwrap()
            .unwrap();
        let bare = Wished {
            job: None,
            payload: "http://h/a.otaria".into(),
        };
        assert_eq!(report.what, What::Wish(Some(bare)));
        let report = read("otaria/v1/a/desired", "").unwrap().unwrap();
        assert_eq!(report.what, What::Wish(None));
        assert_eq!(read("otaria/v1/a/state", ""), Ok(None));
    }

    #[test]
    fn a_log_message_has_one_or_more_lines() {
        let line = |n: u32| format!(r#"{{"n":{n},"boot":1,"t_ms":5,"level":"info","text":"x"}}"#);
        let numbers = |payload: &str| match read("otaria/v1/a/log", payload).unwrap().unwrap().what
        {
            What::Log(lines) => lines.iter().map(|line| line.n).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(numbers(&line(7)), [7]);
        assert_eq!(numbers(&format!("{}\n{}\r\n\n", line(1), line(2))), [1, 2]);
        let damaged = format!("{}\n{{\n{}", line(1), line(3));
        assert_eq!(
            numbers(&damaged),
            [1, 3],
            "a line that cannot be read takes no other with it"
        );
    }

    #[test]
    fn what_is_not_a_report_is_named_and_dropped() {
        for (topic, payload) in [
            ("otaria/v1/a/cmd", "{}"),
            ("otaria/v2/a/state", "{}"),
            ("other/v1/a/state", "{}"),
            ("otaria/v1/a b/state", "{}"),
        ] {
            assert_eq!(read(topic, payload), Err(IngestError::Topic), "{topic}");
        }
        for (topic, payload) in [
            ("otaria/v1/a/presence", "{}"),
            ("otaria/v1/a/presence", r#"{"online":1}"#),
            (
                "otaria/v1/a/event",
                r#"{"install":"zz","boot":1,"n":1,"event":"failed"}"#,
            ),
            ("otaria/v1/a/progress", "[[[[[[[[[[[["),
            ("otaria/v1/a/log", "\u{0}"),
        ] {
            assert!(
                matches!(read(topic, payload), Err(IngestError::Json(_))),
                "{topic} {payload}"
            );
        }
        assert!(matches!(
            read("otaria/v1/a/desired", "ftp://h/x"),
            Err(IngestError::Desired(_))
        ));
        assert!(parse("otaria", "otaria/v1/a/desired", b"\xff", true).is_err());
    }

    #[test]
    fn a_state_under_another_devices_topic_is_refused() {
        let state = r#"{"device":"b","product":"p","version":"1","image_sha256":"IMAGE","sequence":1,
            "security_version":0,"chip":"esp32c3","chip_rev":3,"slot":0,"trial":null,"reset":"software","boot":1,
            "uptime_s":1,"heap_free":1,"heap_min":1,"phase":"idle"}"#
            .replace("IMAGE", &"0a".repeat(32));
        assert_eq!(
            read("otaria/v1/a/state", &state),
            Err(IngestError::OtherDevice)
        );
        assert!(matches!(
            read("otaria/v1/b/state", &state).unwrap().unwrap().what,
            What::State(_)
        ));
    }
}

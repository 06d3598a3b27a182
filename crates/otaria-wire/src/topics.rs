//! MQTT topic names: `<root>/v1/<device id>/<leaf>`.

use core::fmt;
use core::ops::Deref;

use heapless::String;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::messages::{Json, JsonError, ReadJson, WriteJson, Writer, read_text};

/// First level unless configured otherwise.
pub const DEFAULT_ROOT: &str = "otaria";
/// Longest topic name in bytes.
pub const MAX_TOPIC_LEN: usize = 128;
/// Longest device id, and longest first level.
pub const MAX_NAME_LEN: usize = 40;

const VERSION_LEVEL: &str = "v1";

/// A text is not 1 to 40 letters, digits, `_` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is 1 to 40 letters, digits, '_' or '-'")
    }
}

impl core::error::Error for NameError {}

/// A device's id, also used for the first level of topics: 1 to 40 letters,
/// digits, `_` or `-`, so that it stands in a topic, an address and a file name as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String<MAX_NAME_LEN>);

impl DeviceId {
    /// Checks an id.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn new(id: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if id.is_empty() || !id.bytes().all(allowed) {
            return Err(NameError);
        }
        String::try_from(id).map(Self).map_err(|_| NameError)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for DeviceId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl core::str::FromStr for DeviceId {
    type Err = NameError;

    fn from_str(id: &str) -> Result<Self, NameError> {
        Self::new(id)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = DeviceId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("1 to 40 letters, digits, '_' or '-'")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<DeviceId, E> {
                DeviceId::new(id).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl WriteJson for DeviceId {
    fn write(&self, json: &mut Writer<'_>) {
        json.text(&self.0);
    }
}

impl ReadJson for DeviceId {
    fn blank() -> Self {
        Self(String::new())
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = read_text(json)?;
        Ok(())
    }
}

/// The last level of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The wanted firmware; to the device, retained.
    Desired,
    /// Commands; to the device.
    Cmd,
    /// Key epoch record; to the device, retained.
    Keys,
    /// Whether the device is connected; retained.
    Presence,
    /// What the device is and runs; retained.
    State,
    /// How far a download is.
    Progress,
    /// Steps of a job.
    Event,
    /// Lines of the log.
    Log,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 8] = [
        Self::Desired,
        Self::Cmd,
        Self::Keys,
        Self::Presence,
        Self::State,
        Self::Progress,
        Self::Event,
        Self::Log,
    ];

    /// The topics that a device subscribes to.
    pub const TO_DEVICE: [Self; 3] = [Self::Desired, Self::Cmd, Self::Keys];

    /// The topics that a device publishes.
    pub const FROM_DEVICE: [Self; 5] = [
        Self::Presence,
        Self::State,
        Self::Progress,
        Self::Event,
        Self::Log,
    ];

    /// The level's text.
    #[must_use]
    pub fn leaf(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Cmd => "cmd",
            Self::Keys => "keys",
            Self::Presence => "presence",
            Self::State => "state",
            Self::Progress => "progress",
            Self::Event => "event",
            Self::Log => "log",
        }
    }

    fn from_leaf(leaf: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.leaf() == leaf)
    }
}

/// The topics of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    root: DeviceId,
    device: DeviceId,
}

impl Topics {
    /// Topics under a first level, for one device.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn new(root: &str, device: &str) -> Result<Self, NameError> {
        Ok(Self {
            root: DeviceId::new(root)?,
            device: DeviceId::new(device)?,
        })
    }

    /// The device's id.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The name of a topic.
    #[must_use]
    pub fn name(&self, topic: Topic) -> String<MAX_TOPIC_LEN> {
        join(&self.root, &self.device, topic)
    }

    /// Which of this device's topics a name is.
    #[must_use]
    pub fn parse(&self, name: &str) -> Option<Topic> {
        let (device, topic) = parse(&self.root, name)?;
        (device == self.device.as_str()).then_some(topic)
    }
}

/// The device and the topic of a name under a first level; `None` for any name
/// that no device of this version has.
#[must_use]
pub fn parse<'a>(root: &str, name: &'a str) -> Option<(&'a str, Topic)> {
    let mut levels = name.strip_prefix(root)?.strip_prefix('/')?.split('/');
    let (version, device, leaf) = (levels.next()?, levels.next()?, levels.next()?);
    if version != VERSION_LEVEL || levels.next().is_some() || DeviceId::new(device).is_err() {
        return None;
    }
    Some((device, Topic::from_leaf(leaf)?))
}

/// The filter for a topic of all devices, such as `otaria/v1/+/event`.
///
/// # Errors
/// `root` is not a name.
pub fn filter(root: &str, topic: Topic) -> Result<String<MAX_TOPIC_LEN>, NameError> {
    Ok(join(&DeviceId::new(root)?, "+", topic))
}

fn join(root: &str, device: &str, topic: Topic) -> String<MAX_TOPIC_LEN> {
    let mut name = String::new();
    for part in [root, "/", VERSION_LEVEL, "/", device, "/", topic.leaf()] {
        // Two names of 40 bytes and the rest are at most 93.
        let _ = name.push_str(part);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::string::String as StdString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_design() {
        let topics = Topics::new("otaria", "a1b2").unwrap();
        let names = Topic::ALL.map(|topic| StdString::from(topics.name(topic).as_str()));
        assert_eq!(
            names,
            [
                "otaria/v1/a1b2/desired",
                "otaria/v1/a1b2/cmd",
                "otaria/v1/a1b2/keys",
                "otaria/v1/a1b2/presence",
                "otaria/v1/a1b2/state",
                "otaria/v1/a1b2/progress",
                "otaria/v1/a1b2/event",
                "otaria/v1/a1b2/log",
            ]
        );
        assert_eq!(filter("plant", Topic::Event).unwrap(), "plant/v1/+/event");
    }

    #[test]
    fn a_name_of_another_device_version_or_depth_is_not_taken() {
        let topics = Topics::new("otaria", "a1b2").unwrap();
        for name in [
            "",
            "otaria",
            "otaria/v1/a1b2",
            "otaria/v1/a1b3/desired",
            "otaria/v2/a1b2/desired",
            "otaria/v1/a1b2/desired/x",
            "otaria/v1/a1b2/unknown",
            "otaria/v1//desired",
            "/otaria/v1/a1b2/desired",
            "otariav1/a1b2/desired",
            "Otaria/v1/a1b2/desired",
        ] {
            assert_eq!(topics.parse(name), None, "{name}");
        }
        assert_eq!(topics.parse("otaria/v1/a1b2/desired"), Some(Topic::Desired));
        assert_eq!(parse("otaria", "otaria/v1/x/log"), Some(("x", Topic::Log)));
    }

    #[test]
    fn ids_that_mean_something_to_mqtt_paths_or_files_are_refused() {
        let long = "a".repeat(MAX_NAME_LEN + 1);
        for bad in [
            "",
            "a/b",
            "+",
            "#",
            "$SYS",
            "a b",
            "ä",
            "a\0",
            "..",
            long.as_str(),
        ] {
            assert_eq!(DeviceId::new(bad), Err(NameError), "{bad}");
        }
        assert!(DeviceId::new(&long[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn every_name_parses_back(root in "[A-Za-z0-9_-]{1,40}", device in "[A-Za-z0-9_-]{1,40}", which in 0usize..8) {
            let topics = Topics::new(&root, &device).unwrap();
            let topic = Topic::ALL[which];
            prop_assert_eq!(topics.parse(&topics.name(topic)), Some(topic));
        }

        #[test]
        fn any_text_is_parsed_without_panic(root in ".{0,8}", name in ".{0,60}") {
            let _ = parse(&root, &name);
        }
    }
}

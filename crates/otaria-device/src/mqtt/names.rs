//! Topic names, as they go over the wire.

use heapless::String;
use otaria_wire::topics::{MAX_TOPIC_LEN, Topic, Topics};

use super::mailbox::{Inbound, Outbound};

/// The names of one device's topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a>(pub(super) &'a Topics);

pub(super) type Name = String<MAX_TOPIC_LEN>;

impl Names<'_> {
    /// What the device subscribes to, in the order of [`Inbound::ALL`].
    pub(super) fn filters(&self) -> [(Inbound, Name); 3] {
        Inbound::ALL.map(|topic| {
            let name = self.0.name(match topic {
                Inbound::Desired => Topic::Desired,
                Inbound::Command => Topic::Cmd,
                Inbound::Keys => Topic::Keys,
            });
            (topic, name)
        })
    }

    /// The subscribed topic of that name, if it is one.
    pub(super) fn inbound(&self, name: &[u8]) -> Option<Inbound> {
        match self.0.parse(core::str::from_utf8(name).ok()?)? {
            Topic::Desired => Some(Inbound::Desired),
            Topic::Cmd => Some(Inbound::Command),
            Topic::Keys => Some(Inbound::Keys),
            Topic::Presence | Topic::State | Topic::Progress | Topic::Event | Topic::Log => None,
        }
    }

    pub(super) fn outbound(&self, topic: Outbound) -> Name {
        self.0.name(match topic {
            Outbound::State => Topic::State,
            Outbound::Progress => Topic::Progress,
            Outbound::Event => Topic::Event,
            Outbound::Log => Topic::Log,
        })
    }

    pub(super) fn presence(&self) -> Name {
        self.0.name(Topic::Presence)
    }
}

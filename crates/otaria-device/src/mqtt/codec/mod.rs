//! MQTT 5.0 packets, as far as a device needs them (OASIS Standard, 7 March 2019; section numbers in this folder are its).
//!
//! A codec of its own, because no crate was found that needs neither a heap nor `unsafe` and survives a hostile broker:
//! rust-mqtt 0.6 keeps received strings borrowed for the life of the client, so that its buffer can be used again only by an
//! `unsafe` reset; it panics on a user property whose length exceeds the packet; it cannot acknowledge what does not fit.
//!
//! No I/O in here. [`Receiver`] collects bytes until a packet is whole; [`Packet`] is what it says, checked; the functions in
//! [`encode`] write packets into buffers.

pub(super) mod encode;
mod fields;
mod packet;
mod properties;
mod receiver;

pub(super) use packet::{ConnAck, Limits, Packet, Publish};
pub(super) use receiver::{Oversized, Received, Receiver};

use super::MqttError;

/// The largest packet that this device takes, header and all. Announced in CONNECT.
pub(super) const PACKET_MAX: usize = 2048;

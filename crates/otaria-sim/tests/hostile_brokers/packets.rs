//! MQTT 5 packets, made by hand.

/// The topic of wishes.
pub(crate) const DESIRED: &str = "otaria/v1/d1/desired";

/// CONNACK with a reason and properties.
pub(crate) fn connack(reason: u8, properties: &[u8]) -> Vec<u8> {
    let len = properties.len() as u8;
    [&[0x20, 3 + len, 0, reason, len][..], properties].concat()
}

/// PUBLISH with these flags (QoS 1 is 2), packet id (if the QoS has one), properties and payload.
pub(crate) fn publish(
    flags: u8,
    topic: &[u8],
    id: Option<u16>,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.push(properties.len() as u8);
    body.extend(properties);
    body.extend(payload);
    let mut packet = vec![0x30 | flags];
    let mut rest = body.len();
    while rest > 0x7F {
        packet.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    packet.push(rest as u8);
    packet.extend(body);
    packet
}

//! Brokers that never take the device in.

use crate::packets::{DESIRED, connack, publish};
use crate::row::*;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        (0x80, "unspecified error"),
        (0x81, "malformed packet"),
        (0x82, "protocol error"),
        (0x83, "implementation specific"),
        (0x84, "unsupported protocol version"),
        (0x85, "client id not valid"),
        (0x86, "bad user name or password"),
        (0x87, "not authorized"),
        (0x88, "server unavailable"),
        (0x89, "server busy"),
        (0x8A, "banned"),
        (0x8C, "bad authentication method"),
        (0x90, "topic name invalid"),
        (0x95, "packet too large"),
        (0x97, "quota exceeded"),
        (0x99, "payload format invalid"),
        (0x9A, "retain not supported"),
        (0x9B, "QoS not supported"),
        (0x9C, "use another server"),
        (0x9D, "server moved"),
        (0x9F, "connection rate exceeded"),
        (0xFE, "a reason that does not exist"),
    ]
    .into_iter()
    .map(|(reason, name)| shut(&format!("refuses: {name}"), &connack(reason, b""), Close))
    .collect();
    rows.extend([
        shut("no CONNACK", b"", Hang),
        shut(
            "closes instead of CONNACK, as a broker of MQTT 3.1 does",
            b"",
            Close,
        ),
        shut("resets instead of CONNACK", b"", Reset),
        shut(
            "refuses with a CONNACK of MQTT 3.1.1",
            &[0x20, 2, 0, 1],
            Close,
        ),
        shut(
            "accepts with a CONNACK of MQTT 3.1.1",
            &[0x20, 2, 0, 0],
            Hang,
        ),
        shut("half a CONNACK", &connack(0, b"")[..3], Hang),
        shut(
            "a CONNACK of one byte every ten seconds",
            &connack(0, &[0x1F, 0, 2, b'h', b'i']),
            Drip,
        ),
        shut(
            "two CONNACKs",
            &[connack(0, b""), connack(0, b"")].concat(),
            Hang,
        ),
        shut("a CONNACK, and nothing more", &connack(0, b""), Hang),
        shut("a CONNACK, and the end", &connack(0, b""), Close),
        shut(
            "a CONNACK whose length has five bytes",
            &[0x20, 0x80, 0x80, 0x80, 0x80, 1],
            Hang,
        ),
        shut(
            "a CONNACK of 256 MB",
            &[0x20, 0xFF, 0xFF, 0xFF, 0x7F],
            Repeat,
        ),
        shut(
            "a CONNACK whose properties are longer than itself",
            &[0x20, 3, 0, 0, 100],
            Hang,
        ),
        shut(
            "a CONNACK with a property that does not exist",
            &connack(0, &[0x7E, 0]),
            Hang,
        ),
        shut(
            "a CONNACK with a property twice",
            &connack(0, &[0x24, 0, 0x24, 0]),
            Hang,
        ),
        shut(
            "a CONNACK that allows packets of 0 bytes",
            &connack(0, &[0x27, 0, 0, 0, 0]),
            Hang,
        ),
        shut(
            "a CONNACK that allows packets of 20 bytes",
            &connack(0, &[0x27, 0, 0, 0, 20]),
            Hang,
        ),
        shut(
            "SUBACK instead of CONNACK",
            &[0x90, 6, 0, 1, 0, 1, 1, 1],
            Hang,
        ),
        shut(
            "PUBLISH instead of CONNACK",
            &publish(0, DESIRED.as_bytes(), None, b"", b"x"),
            Hang,
        ),
        shut("DISCONNECT instead of CONNACK", &[0xE0, 2, 0x8B, 0], Close),
        shut("AUTH instead of CONNACK", &[0xF0, 2, 0x18, 0], Hang),
        shut("a packet of type 0", &[0, 0], Hang),
        shut("ones", &[0xFF; 100], Hang),
        shut("zeros without end", &[0; 100], Repeat),
        shut("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n", Close),
        shut("TLS", &[21, 3, 3, 0, 2, 2, 70], Close),
        shut("PINGRESP without end", &[0xD0, 0], Repeat),
        shut(
            "a CONNACK, and then PINGRESP without end",
            &[0x20, 3, 0, 0, 0, 0xD0, 0],
            Repeat,
        ),
    ]);
    rows
}

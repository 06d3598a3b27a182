//! Where the time of an update went, as people read it.

use std::fmt;

use otaria_wire::messages::Timing;

use crate::text::grouped;

/// Milliseconds in seconds with one decimal.
pub(crate) fn seconds(millis: u32) -> String {
    format!("{:.1} s", f64::from(millis) / 1000.0)
}

/// The phases of an update; what was not measured is left out.
pub(crate) struct Phases<'a>(pub(crate) &'a Timing);

impl fmt::Display for Phases<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timing = self.0;
        write!(f, "{}", seconds(timing.total_ms))?;
        let phases = [
            ("connect", timing.connect_ms),
            ("TLS", timing.tls_ms),
            ("receive", timing.receive_ms),
            ("erase", timing.erase_ms),
            ("write", timing.write_ms),
            ("verify", timing.verify_ms),
            ("restart to confirm", timing.confirm_ms.unwrap_or_default()),
        ];
        let measured = phases.iter().filter(|(_, millis)| *millis > 0);
        for (index, (name, millis)) in measured.enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            write!(f, "{before}{name} {}", seconds(*millis))?;
        }
        Ok(())
    }
}

/// What else an update has seen: memory, signal, link.
pub(crate) struct Conditions<'a>(pub(crate) &'a Timing);

impl fmt::Display for Conditions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timing = self.0;
        write!(f, "{} B received", grouped(timing.bytes.into()))?;
        if timing.heap_min > 0 {
            write!(
                f,
                ", {} B of heap free at least",
                grouped(timing.heap_min.into())
            )?;
        }
        if let Some(rssi) = timing.rssi {
            write!(f, ", {rssi} dBm")?;
        }
        if let Some(reconnects) = timing.reconnects {
            write!(f, ", {reconnects} reconnects")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_were_not_measured_are_left_out() {
        let timing = Timing {
            connect_ms: 120,
            receive_ms: 3_250,
            total_ms: 17_849,
            bytes: 384_000,
            heap_min: 80_000,
            rssi: Some(-60),
            confirm_ms: Some(12_000),
            reconnects: Some(1),
            ..Timing::default()
        };
        assert_eq!(
            Phases(&timing).to_string(),
            "17.8 s: connect 0.1 s, receive 3.2 s, restart to confirm 12.0 s"
        );
        assert_eq!(
            Conditions(&timing).to_string(),
            "384,000 B received, 80,000 B of heap free at least, -60 dBm, 1 reconnects"
        );
        assert_eq!(Phases(&Timing::default()).to_string(), "0.0 s");
        assert_eq!(Conditions(&Timing::default()).to_string(), "0 B received");
    }
}

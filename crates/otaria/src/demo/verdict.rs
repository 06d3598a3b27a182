//! What happened to each device, from what it said to everybody and from what lies in its flash.

use std::fmt;

use otaria_sim::fleet::Inspection;
use otaria_wire::messages::{EventKind, FailureCode, ResetReason};
use serde::Serialize;

use super::stage::{Fault, Release};
use super::witness::Testimony;

/// What happened to one device with one release.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    device: String,
    version: &'static str,
    /// What happened, in words.
    happened: Vec<String>,
    /// What should have happened and did not.
    wrong: Vec<String>,
}

impl Verdict {
    fn new(device: &str, release: &Release) -> Self {
        Verdict {
            device: device.to_owned(),
            version: release.version,
            happened: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// A good release: it has to be confirmed, and to be what the bootloader starts from now on.
    pub(super) fn on_good(
        device: &str,
        release: &Release,
        said: &Testimony,
        found: &Inspection,
    ) -> Self {
        let mut verdict = Verdict::new(device, release);
        let end = said.end_of(&release.job).map(|event| event.event);
        verdict.require(
            end == Some(EventKind::Confirmed),
            "updated and confirmed",
            "did not report that it confirmed",
        );
        if said.saw(&release.job, EventKind::Resumed) {
            let resumed = "resumed after an interruption";
            verdict.happened.push(resumed.to_owned());
        }
        verdict.require_image(found, release);
        verdict
    }

    /// A bad release: it has to be rolled back for the right reason, and the release before has to be what the bootloader starts.
    pub(super) fn on_bad(
        device: &str,
        release: &Release,
        fault: Fault,
        before: &Release,
        said: &Testimony,
        found: &Inspection,
    ) -> Self {
        let mut verdict = Verdict::new(device, release);
        match said.end_of(&release.job) {
            Some(end) if end.event == EventKind::RolledBack => {
                let why = end.failure();
                let reason = why.map_or("no reason", FailureCode::name);
                let expected = why.is_some_and(|code| fault.explains(code));
                verdict.require(
                    expected,
                    &format!("rolled back: {reason} ({})", fault.description()),
                    &format!("rolled back for {reason}, although {}", fault.description()),
                );
            }
            Some(end) => verdict
                .wrong
                .push(format!("ended with {}", end.event.name())),
            None => verdict.wrong.push("did not report an end".to_owned()),
        }
        verdict.require_image(found, before);
        verdict
    }

    /// Its power was cut before its end, and came back.
    pub(super) fn require_power_cut(&mut self, in_time: bool, found: &Inspection) {
        let power_ons = found
            .starts
            .iter()
            .filter(|start| start.reason == ResetReason::PowerOn)
            .count();
        self.require(
            in_time && power_ons > 1,
            "its power was cut on the way",
            "its power was not cut on the way",
        );
    }

    /// Its Wi-Fi was gone before its end.
    pub(super) fn require_lost_wifi(&mut self, in_time: bool, found: &Inspection) {
        self.require(
            in_time && found.access_point_losses > 0,
            "its Wi-Fi was gone on the way",
            "its Wi-Fi was not gone on the way",
        );
    }

    /// Something that has to be so.
    fn require(&mut self, holds: bool, happened: &str, wrong: &str) {
        if holds {
            self.happened.push(happened.to_owned());
        } else {
            self.wrong.push(wrong.to_owned());
        }
    }

    fn require_image(&mut self, found: &Inspection, release: &Release) {
        match &found.boots {
            Some((_, digest)) if *digest == release.image_sha256 => {
                self.happened
                    .push(format!("its bootloader starts {}", release.version));
            }
            Some((version, _)) => self.wrong.push(format!(
                "its bootloader starts {version} and not {}",
                release.version
            )),
            None => self
                .wrong
                .push("its bootloader finds nothing to start".to_owned()),
        }
        if found.on_trial {
            self.wrong
                .push("its journal holds a trial that is not over".to_owned());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.wrong.is_empty() {
            "ok   "
        } else {
            "WRONG"
        };
        let said = self
            .wrong
            .iter()
            .chain(&self.happened)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        write!(f, "{mark} {:<10} {}  {said}", self.device, self.version)
    }
}

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct Verdicts {
    verdicts: Vec<Verdict>,
    #[serde(skip)]
    expected: usize,
}

impl Verdicts {
    /// None yet, of so many.
    pub(super) fn expecting(expected: usize) -> Self {
        Verdicts {
            verdicts: Vec::new(),
            expected,
        }
    }

    pub(super) fn push(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// Whether everything happened that should have.
    pub(crate) fn all_good(&self) -> bool {
        self.missing() == 0 && self.none_wrong()
    }

    /// Whether nothing is known that should not have happened.
    pub(super) fn none_wrong(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.wrong.is_empty())
    }

    fn missing(&self) -> usize {
        self.expected.saturating_sub(self.verdicts.len())
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nRead from every flash through the bootloader, and from what devices said over MQTT:\n"
        )?;
        for verdict in &self.verdicts {
            writeln!(f, "{verdict}")?;
        }
        let wrong = self
            .verdicts
            .iter()
            .filter(|verdict| !verdict.wrong.is_empty())
            .count();
        if self.missing() > 0 {
            writeln!(f, "\n{} verdicts are missing.", self.missing())?;
        }
        match wrong {
            0 => write!(f, "\nAll {} as it should be.", self.verdicts.len()),
            _ => write!(
                f,
                "\n{wrong} of {} not as they should be.",
                self.verdicts.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use otaria_sim::device::{BootRecord, Outage};

    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            device: "d".to_owned(),
            version: "1.1.0",
            happened: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn inspection(power_ons: usize, access_point_losses: u32) -> Inspection {
        let start = BootRecord {
            at: Duration::ZERO,
            reason: ResetReason::PowerOn,
            result: Err(Outage::NothingToBoot),
        };
        Inspection {
            boots: None,
            on_trial: false,
            access_point_losses,
            starts: vec![start; power_ons],
            ops: Vec::new(),
            wear: Vec::new(),
        }
    }

    #[test]
    fn a_misfortune_that_did_not_happen_or_came_after_the_end_is_wrong() {
        for (in_time, times, good) in [(true, 1, true), (true, 0, false), (false, 1, false)] {
            let found = inspection(1 + times, u32::try_from(times).unwrap());
            let (mut unplugged, mut unreachable) = (verdict(), verdict());
            unplugged.require_power_cut(in_time, &found);
            unreachable.require_lost_wifi(in_time, &found);
            assert_eq!(unplugged.wrong.is_empty(), good, "{in_time} {times}");
            assert_eq!(unreachable.wrong.is_empty(), good, "{in_time} {times}");
        }
    }

    #[test]
    fn a_device_without_a_verdict_is_no_success() {
        let mut verdicts = Verdicts::expecting(2);
        assert!(!verdicts.all_good());
        verdicts.push(verdict());
        assert!(!verdicts.all_good());
        assert!(verdicts.to_string().contains("1 verdicts are missing"));
        verdicts.push(verdict());
        assert!(verdicts.all_good());
    }
}

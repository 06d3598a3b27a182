//! What happened to each device, from what it said to everybody and from what lies in its flash.

use std::fmt;

use otaria_sim::fleet::Inspection;
use otaria_wire::messages::{EventKind, FailureCode};
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
            verdict.remark("resumed after an interruption");
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

    /// Something that has to be so.
    pub(super) fn require(&mut self, holds: bool, happened: &str, wrong: &str) {
        if holds {
            self.happened.push(happened.to_owned());
        } else {
            self.wrong.push(wrong.to_owned());
        }
    }

    /// Something worth saying.
    pub(super) fn remark(&mut self, happened: &str) {
        self.happened.push(happened.to_owned());
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
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdicts {
    verdicts: Vec<Verdict>,
}

impl Verdicts {
    pub(super) fn push(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// Whether everything happened that should have.
    pub(crate) fn all_good(&self) -> bool {
        !self.verdicts.is_empty() && self.verdicts.iter().all(|verdict| verdict.wrong.is_empty())
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

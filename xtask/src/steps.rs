//! Named steps with an outcome each; the summary never calls a skipped step passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a step that did not fail ended.
pub(crate) enum Outcome {
    /// It ran and held.
    Passed,
    /// It did not run, for this reason.
    Skipped(String),
}

enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Runs steps one after another and remembers how each ended.
pub(crate) struct Steps {
    only: Vec<String>,
    done: Vec<(&'static str, Duration, Verdict)>,
}

impl Steps {
    pub(crate) fn new(only: &[String]) -> Self {
        Self {
            only: only.to_vec(),
            done: Vec::new(),
        }
    }

    /// Runs one step; a failure is kept and the next steps still run, so that one call shows all that is wrong.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<Outcome>) {
        if !self.only.is_empty() && !self.only.iter().any(|text| name.contains(text.as_str())) {
            return;
        }
        println!("\n=== {name}");
        let start = Instant::now();
        let verdict = match run() {
            Ok(Outcome::Passed) => Verdict::Passed,
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                Verdict::Skipped(reason)
            }
            Err(error) => {
                println!("failed: {error:#}");
                Verdict::Failed(format!("{error:#}"))
            }
        };
        self.done.push((name, start.elapsed(), verdict));
    }

    /// Prints the table and fails if any step failed, or if none ran.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n=== summary");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, took, verdict) in &self.done {
            let seconds = took.as_secs_f32();
            match verdict {
                Verdict::Passed => {
                    passed += 1;
                    println!("passed   {seconds:7.1} s  {name}");
                }
                Verdict::Skipped(reason) => {
                    skipped += 1;
                    println!("skipped  {seconds:7.1} s  {name}: {reason}");
                }
                Verdict::Failed(why) => {
                    failed += 1;
                    println!("FAILED   {seconds:7.1} s  {name}: {why}");
                }
            }
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        if self.done.is_empty() {
            bail!("no step has that name; run `cargo xtask test` to see them all");
        }
        Ok(())
    }
}

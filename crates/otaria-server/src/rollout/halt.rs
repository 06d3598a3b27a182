//! When a rollout stops by itself. Pure.
//!
//! The test: each try that ends is a draw. With a good release it fails with probability p0, the fleet's baseline; with a
//! bad one with p1, whose odds are `worse` times as high. The sum of the logarithms of the likelihood ratios, taken back
//! to 0 whenever it falls below (Page's CUSUM), is held against ln(n·k/α): n the devices of the rollout, k the number of
//! sums that are kept (one for all, one for each hardware revision if there are several), α the share of good rollouts
//! that may be stopped.
//!
//! Why that bound: from any one try on, the likelihood ratio of a good release is a martingale, so the chance that it ever
//! reaches n·k/α is at most α/(n·k) (Ville's inequality); there are at most n tries to start from in each of k sums. That
//! holds for 10 devices as for 10,000, and no matter how often one looks. Retries are tries, too: they come on top
//! of n, and only a fleet in which many fail has many.

use std::collections::BTreeMap;

use crate::model::HaltRule;

/// A try that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Its device's hardware revision, as the test groups them.
    pub(crate) stratum: String,
    /// Why it failed; none: confirmed.
    pub(crate) failed: Option<String>,
}

/// The test's two hypotheses and its bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    on_failure: f64,
    on_success: f64,
    bound: f64,
}

impl Test {
    /// `baseline` as a share; `devices` and `sums` as above.
    pub(crate) fn new(rule: &HaltRule, baseline: f64, devices: usize, sums: usize) -> Self {
        let p0 = baseline.clamp(0.001, 0.5);
        let odds = p0 / (1.0 - p0) * rule.worse;
        let p1 = odds / (1.0 + odds);
        let alpha = (rule.false_alarm / 100.0).clamp(1e-6, 0.5);
        Self {
            on_failure: (p1 / p0).ln(),
            on_success: ((1.0 - p1) / (1.0 - p0)).ln(),
            bound: (devices.max(1) as f64 * sums.max(1) as f64 / alpha).ln(),
        }
    }

    /// Whether the sum ever reaches the bound.
    pub(crate) fn stops(&self, outcomes: impl Iterator<Item = bool>) -> bool {
        let mut sum = 0.0_f64;
        for failed in outcomes {
            let change = if failed {
                self.on_failure
            } else {
                self.on_success
            };
            sum = (sum + change).max(0.0);
            if sum >= self.bound {
                return true;
            }
        }
        false
    }
}

/// Why the rollout has to stop, if it has to.
pub(crate) fn reason(
    rule: &HaltRule,
    baseline: f64,
    devices: usize,
    outcomes: &[Outcome],
) -> Option<String> {
    let all = Tally::of(outcomes.iter());
    if let Some(limit) = rule.failures
        && all.failed >= limit as usize
    {
        return Some(format!("{all}: the limit is {limit}"));
    }
    if let Some(percent) = rule.percent
        && all.ended >= rule.after as usize
        && all.failed as f64 * 100.0 >= percent * all.ended as f64
        && all.failed > 0
    {
        return Some(format!("{all}: the limit is {percent} %"));
    }
    if !rule.test || all.failed == 0 {
        return None;
    }
    let mut strata: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        strata.entry(&outcome.stratum).or_default().push(outcome);
    }
    let sums = if strata.len() > 1 {
        strata.len() + 1
    } else {
        1
    };
    let test = Test::new(rule, baseline, devices, sums);
    let failed = |outcome: &&Outcome| outcome.failed.is_some();
    // The most telling first: one revision alone says more than the fleet as a whole.
    if sums > 1 {
        for (stratum, of) in &strata {
            if test.stops(of.iter().map(&failed)) {
                return Some(format!(
                    "{}. With a good release {:.1} % fail",
                    apart(outcomes, stratum),
                    baseline * 100.0
                ));
            }
        }
    }
    test.stops(outcomes.iter().map(|outcome| failed(&outcome)))
        .then(|| format!("{all}. With a good release {:.1} % fail", baseline * 100.0))
}

/// How one revision fares, and all others.
fn apart(outcomes: &[Outcome], stratum: &str) -> String {
    let (of, others): (Vec<&Outcome>, Vec<&Outcome>) = outcomes
        .iter()
        .partition(|outcome| outcome.stratum == stratum);
    let others = Tally::of(others.into_iter());
    format!(
        "{} with {stratum}; of all others {} of {}",
        Tally::of(of.into_iter()),
        others.failed,
        others.ended
    )
}

/// What is known of the failures so far, for people: by the revision that fails most, if there are several.
pub(crate) fn summary(outcomes: &[Outcome]) -> String {
    let mut strata: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for outcome in outcomes {
        let (failed, ended) = strata.entry(&outcome.stratum).or_default();
        *failed += usize::from(outcome.failed.is_some());
        *ended += 1;
    }
    let share = |(failed, ended): (usize, usize)| failed as f64 / ended as f64;
    let worst = strata
        .iter()
        .max_by(|(_, a), (_, b)| share(**a).total_cmp(&share(**b)));
    match worst {
        Some((stratum, _)) if strata.len() > 1 => apart(outcomes, stratum),
        _ => Tally::of(outcomes.iter()).to_string(),
    }
}

/// How many failed, and why.
struct Tally {
    ended: usize,
    failed: usize,
    why: BTreeMap<String, usize>,
}

impl Tally {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut tally = Self {
            ended: 0,
            failed: 0,
            why: BTreeMap::new(),
        };
        for outcome in outcomes {
            tally.ended += 1;
            if let Some(why) = &outcome.failed {
                tally.failed += 1;
                *tally.why.entry(why.clone()).or_default() += 1;
            }
        }
        tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} updates failed", self.failed, self.ended)?;
        let mut why: Vec<_> = self.why.iter().collect();
        why.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let why: Vec<String> = why
            .into_iter()
            .take(3)
            .map(|(why, count)| format!("{why} {count}x"))
            .collect();
        if why.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", why.join(", "))
    }
}

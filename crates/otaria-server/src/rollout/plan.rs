//! Which device is in which wave, and what that takes. Pure.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::spec::{Checked, Spread};
use crate::model::{Device, PackageFacts, Plan, PlannedWave, Skipped};
use crate::store::facts;
use crate::wishes::misfit;

/// What an update takes beside the download, in seconds: check, verify, restart, trial.
const OVERHEAD_S: u64 = 90;
/// What a device downloads in a second, as far as a plan assumes.
const DEVICE_RATE: u64 = 40_000;

/// Who is in which wave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sorted {
    /// For each wave its devices, as indices, in the order in which they are offered the package.
    pub(crate) waves: Vec<Vec<usize>>,
    /// Those that are in no wave.
    pub(crate) left_out: Vec<usize>,
    /// Those that cannot take the package.
    pub(crate) skipped: Vec<Skipped>,
}

/// Sorts devices into waves. The order is by a hash of rollout and device: as good as random, and the same in the plan, in
/// the rollout, and when it is asked for twice.
pub(crate) fn sort(
    checked: &Checked,
    devices: &[Device],
    package: &PackageFacts,
    now: i64,
) -> Sorted {
    let mut sorted = Sorted::default();
    let mut rest = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        match misfit(device, &package.product, &package.chip) {
            None => rest.push(index),
            Some(reason) => sorted.skipped.push(Skipped {
                device: device.id.clone(),
                reason,
            }),
        }
    }
    let key = |index: &usize| {
        let mut hash = Sha256::new();
        hash.update(checked.spec.name.as_bytes());
        hash.update([0]);
        hash.update(devices[*index].id.as_bytes());
        hash.finalize()
    };
    rest.sort_by_cached_key(key);
    let total = rest.len();
    let rules = checked.only.iter().zip(&checked.spread);
    for (wave, (only, spread)) in checked.spec.waves.iter().zip(rules) {
        let takes = |index: &usize| {
            let device = &devices[*index];
            only.as_ref()
                .is_none_or(|only| only.matches(&facts(device, &device.all_groups(), now)))
        };
        let (mut candidates, others): (Vec<usize>, Vec<usize>) = rest.into_iter().partition(takes);
        if let Some(spread) = spread {
            candidates = evenly(candidates, |index| value(spread, &devices[index]));
        }
        let size = match (wave.count, wave.percent) {
            (Some(count), _) => count as usize,
            // A share of a count is a count.
            (None, Some(percent)) => (total as f64 * percent / 100.0).ceil() as usize,
            (None, None) => candidates.len(),
        };
        let later = candidates.split_off(size.min(candidates.len()));
        sorted.waves.push(candidates);
        rest = [others, later].concat();
        rest.sort_by_cached_key(key);
    }
    sorted.left_out = rest;
    sorted
}

/// What the halt test tells apart: a device's chip and revision.
pub(crate) fn stratum(device: &Device) -> String {
    match &device.state {
        Some(state) => format!(
            "{} revision {}.{}",
            state.chip,
            state.chip_rev / 100,
            state.chip_rev % 100
        ),
        None => "an unknown chip".to_owned(),
    }
}

fn value(spread: &Spread, device: &Device) -> String {
    let state = device.state.as_ref();
    let text = match spread {
        Spread::ChipRev => return stratum(device),
        Spread::Chip => state.map(|state| state.chip.as_str().to_owned()),
        Spread::Version => state.map(|state| state.version.as_str().to_owned()),
        Spread::Tag(name) => device.tags.get(name).cloned(),
    };
    text.unwrap_or_default()
}

/// One of each value in turn.
fn evenly(indices: Vec<usize>, value: impl Fn(usize) -> String) -> Vec<usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, usize)> = indices
        .into_iter()
        .map(|index| {
            let rank = seen.entry(value(index)).or_default();
            *rank += 1;
            (*rank, index)
        })
        .collect();
    // Stable: within a round the order stays.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, index)| index).collect()
}

/// The dry run.
pub(crate) fn plan(
    checked: &Checked,
    devices: &[Device],
    package: &PackageFacts,
    baseline: f64,
    now: i64,
) -> Plan {
    let sorted = sort(checked, devices, package, now);
    let runs = |device: &Device| runs(device, package) == Some(true);
    let limits = &checked.spec.limits;
    let each = OVERHEAD_S + package.size / DEVICE_RATE;
    let mut plan = Plan {
        waves: Vec::new(),
        devices: 0,
        already: 0,
        bytes: 0,
        seconds: 0,
        baseline: baseline * 100.0,
        skipped: sorted.skipped,
        left_out: ids(devices, &sorted.left_out),
    };
    let last = sorted.waves.len().saturating_sub(1);
    for (number, (members, wave)) in sorted.waves.iter().zip(&checked.spec.waves).enumerate() {
        let to_do = members.iter().filter(|index| !runs(&devices[**index]));
        let to_do = to_do.count() as u64;
        let online = members.iter().filter(|index| devices[**index].online);
        let bytes = to_do * package.size;
        let paced = limits
            .bytes_per_second
            .map_or(0, |rate| bytes.div_ceil(rate.0.max(1)));
        let takes_s = (to_do.div_ceil(u64::from(limits.concurrent.max(1))) * each).max(paced);
        plan.waves.push(PlannedWave {
            name: wave.name.clone(),
            devices: ids(devices, members),
            online: online.count() as u64,
            bytes,
            begins_s: plan.seconds,
            takes_s,
        });
        plan.devices += members.len() as u64;
        plan.already += members.len() as u64 - to_do;
        plan.bytes += bytes;
        plan.seconds += takes_s;
        if number < last {
            plan.seconds += u64::from(wave.gate.soak.0);
        }
    }
    plan
}

/// Whether a device runs the package's image, confirmed; none: it has not said what it runs.
pub(crate) fn runs(device: &Device, package: &PackageFacts) -> Option<bool> {
    let state = device.state.as_ref()?;
    Some(state.image_sha256 == package.image_sha256 && state.trial.is_none())
}

fn ids(devices: &[Device], indices: &[usize]) -> Vec<String> {
    indices
        .iter()
        .map(|index| devices[*index].id.clone())
        .collect()
}

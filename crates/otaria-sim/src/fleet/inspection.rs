//! What a device's flash says, read from outside.

use std::cell::RefCell;

use otaria_device::storage::journal::Journal;
use otaria_device::storage::region::Region;
use otaria_wire::Sha256Digest;
use otaria_wire::journal::{TrialCounters, TrialStage};
use otaria_wire::partitions::Layout;

use crate::device::{BootRecord, SimDevice, Site};
use crate::flash::Op;

/// The truth about a device: not what it reports, but what its bootloader would do and what its journal holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Version and digest of the image that the bootloader would start now; `None` if it would start none.
    pub boots: Option<(String, Sha256Digest)>,
    /// Whether the journal holds a trial that is not over.
    pub on_trial: bool,
    /// How often its access point was taken away.
    pub access_point_losses: u32,
    /// All starts since the device was built.
    pub starts: Vec<BootRecord>,
    /// All flash commands since then, if [`Blueprint::log_flash`](super::Blueprint::log_flash) asked for them.
    pub ops: Vec<Op>,
    /// How often each sector was erased.
    pub wear: Vec<u32>,
}

impl Inspection {
    pub(super) fn of<S: Site>(
        device: &SimDevice<S>,
        layout: &Layout,
        access_point_losses: u32,
    ) -> Self {
        let boots = device.verdict().ok().map(|booted| {
            let image = device
                .flash()
                .peek(booted.region.offset, booted.image.len as usize);
            (
                booted.image.desc.version.as_str().to_owned(),
                Sha256Digest::of(&image),
            )
        });
        let flash = device.flash();
        Inspection {
            boots,
            on_trial: on_trial(device, layout),
            access_point_losses,
            starts: device.boots(),
            ops: flash.log().to_vec(),
            wear: flash.wear().to_vec(),
        }
    }
}

fn on_trial<S: Site>(device: &SimDevice<S>, layout: &Layout) -> bool {
    let mut copy = device.flash().clone();
    copy.power_on();
    let flash = RefCell::new(copy);
    let counters = Region::new(&flash, layout.journal.offset, layout.journal.len)
        .ok()
        .and_then(|region| Journal::mount(region).ok())
        .and_then(|mut journal| journal.latest::<TrialCounters>(0).ok().flatten());
    counters.is_some_and(|counters| counters.stage != TrialStage::Closed)
}

//! Otadata: a cut leaves the choice that stood, or the one that was asked for, and the same call then leads to the end.

use std::cell::RefCell;

use otaria_device::board::Slot;
use otaria_device::storage::otadata::{ActivateAs, Entries, OtaData, OtaDataError};
use otaria_device::storage::region::Region;
use otaria_sim::flash::{SECTOR_LEN, SimFlash};
use otaria_wire::otadata::{Entry, OtaState, Selected, select};

use crate::sweep::{Count, Scenario, sweep};

#[derive(Debug, Clone, Copy)]
enum Act {
    Activate(Slot, ActivateAs),
    /// As the guard does it: if the confirmed slot is not selected any more, it is activated.
    MarkValid(Slot),
    Deselect(Slot),
    EraseTorn,
}

struct OneAct {
    before: [Option<Entry>; 2],
    act: Act,
}

impl OneAct {
    fn otadata<'a>(&self, flash: &'a RefCell<SimFlash>) -> OtaData<Region<'a, SimFlash>> {
        OtaData::new(Region::new(flash, 0, 2 * SECTOR_LEN).unwrap()).unwrap()
    }

    fn read(&self, flash: &RefCell<SimFlash>) -> Entries {
        self.otadata(flash).read().unwrap()
    }

    fn before(&self) -> Option<Slot> {
        let flash = RefCell::new(self.start().0);
        self.read(&flash).selected_slot()
    }
}

impl Scenario for OneAct {
    type World = ();

    fn start(&self) -> (SimFlash, ()) {
        let mut flash = SimFlash::new(2 * SECTOR_LEN);
        for (at, entry) in [0, SECTOR_LEN].into_iter().zip(self.before) {
            if let Some(entry) = entry {
                flash.load(at, &entry.encode());
            }
        }
        if let Act::EraseTorn = self.act {
            flash.load(SECTOR_LEN, &[0xA5; 32]);
        }
        (flash, ())
    }

    fn run(&self, flash: &RefCell<SimFlash>, (): &mut ()) -> bool {
        let mut otadata = self.otadata(flash);
        let outcome = match self.act {
            Act::Activate(slot, state) => otadata.activate(slot, state),
            Act::MarkValid(slot) => match otadata.mark_valid(slot) {
                Err(OtaDataError::NotSelected) => otadata.activate(slot, ActivateAs::Confirmed),
                outcome => outcome,
            },
            Act::Deselect(slot) => otadata.deselect(slot),
            Act::EraseTorn => otadata.erase_torn(),
        };
        // What is called again and again until it returns; a torn sector that is gone needs no command.
        match outcome {
            Ok(()) => true,
            Err(OtaDataError::Flash(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, (): &mut ()) {
        let old = self.before();
        for _ in 0..4 {
            let entries = self.read(flash);
            let selected = entries.selected_slot();
            match self.act {
                Act::Activate(slot, _) => {
                    assert!(selected == old || selected == Some(slot), "{entries:?}");
                }
                // Erasing the entry in force leaves the other slot's, if there is one.
                Act::MarkValid(slot) => {
                    let fallback =
                        without_selected(self.before).filter(|fallback| *fallback != slot);
                    assert!(selected == old || selected == fallback, "{entries:?}");
                }
                Act::Deselect(slot) => {
                    assert!(
                        selected == old || selected == Some(slot.other()),
                        "{entries:?}"
                    );
                    assert!(entries.view().entry(slot.other()).bootable(), "{entries:?}");
                }
                Act::EraseTorn => assert_eq!(selected, old, "{entries:?}"),
            }
        }
    }

    fn check_at_end(&self, flash: &SimFlash, (): &(), _cuts: u32) {
        let flash = RefCell::new(flash.clone());
        let entries = self.read(&flash);
        let view = entries.view();
        match self.act {
            Act::Activate(slot, _) | Act::MarkValid(slot) => {
                assert_eq!(view.selected, Some(slot), "{entries:?}");
                let sector = entries.selected().unwrap().sector as u32;
                assert!(
                    !flash.borrow().is_unstable(sector * SECTOR_LEN),
                    "the entry in force"
                );
            }
            Act::Deselect(slot) => {
                assert!(!view.entry(slot).bootable(), "{entries:?}");
                for sector in 0..2 {
                    assert!(
                        !flash.borrow().is_unstable(sector * SECTOR_LEN),
                        "it may come back"
                    );
                }
            }
            Act::EraseTorn => assert!(!view.torn),
        }
    }
}

/// What is selected if the entry in force is gone.
fn without_selected(mut entries: [Option<Entry>; 2]) -> Option<Slot> {
    let slot_of = |selected: Selected| Slot::from_index(selected.entry.slot(2) as u8);
    let selected = select(entries[0], entries[1])?;
    entries[selected.sector] = None;
    select(entries[0], entries[1]).and_then(slot_of)
}

fn states() -> Vec<[Option<Entry>; 2]> {
    let entry = |seq, state| Some(Entry::new(seq, state));
    vec![
        [None, None],
        [entry(1, OtaState::Valid), None],
        [None, entry(1, OtaState::Undefined)],
        [entry(1, OtaState::Valid), entry(2, OtaState::New)],
        [entry(5, OtaState::PendingVerify), entry(4, OtaState::Valid)],
        [entry(5, OtaState::Aborted), entry(4, OtaState::Valid)],
        [entry(5, OtaState::Aborted), None],
        [entry(5, OtaState::Aborted), entry(4, OtaState::Invalid)],
        [entry(6, OtaState::Valid), entry(8, OtaState::New)],
    ]
}

#[test]
fn an_activation_leaves_the_old_choice_or_the_new_one() {
    let mut count = Count::default();
    for before in states() {
        for slot in Slot::BOTH {
            for state in [
                ActivateAs::Trial,
                ActivateAs::Confirmed,
                ActivateAs::Fallback,
            ] {
                let act = Act::Activate(slot, state);
                count += sweep(&format!("{act:?} over {before:?}"), &OneAct { before, act });
            }
        }
    }
    println!("otadata, activate: {count}");
}

#[test]
fn a_confirmation_leaves_a_choice_from_which_it_is_finished() {
    let mut count = Count::default();
    for before in states() {
        let act = |slot| OneAct {
            before,
            act: Act::MarkValid(slot),
        };
        if let Some(slot) = act(Slot::Ota0).before() {
            count += sweep(&format!("mark valid in {before:?}"), &act(slot));
        }
    }
    println!("otadata, mark valid: {count}");
}

#[test]
fn taking_a_slot_out_of_the_choice_never_touches_the_other_one() {
    let mut count = Count::default();
    for before in states() {
        for slot in Slot::BOTH {
            let scenario = OneAct {
                before,
                act: Act::Deselect(slot),
            };
            let (flash, ()) = scenario.start();
            if scenario
                .read(&RefCell::new(flash))
                .view()
                .entry(slot.other())
                .bootable()
            {
                count += sweep(&format!("deselect {slot} in {before:?}"), &scenario);
            }
        }
    }
    println!("otadata, deselect: {count}");
}

#[test]
fn a_torn_sector_is_erased_beside_the_entry_in_force() {
    let before = [Some(Entry::new(3, OtaState::Valid)), None];
    let count = sweep(
        "erase torn",
        &OneAct {
            before,
            act: Act::EraseTorn,
        },
    );
    println!("otadata, erase torn: {count}");
}

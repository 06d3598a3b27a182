//! Which downloads may begin, so that nobody wears the flash out who can only ask for them.
//!
//! Whoever publishes `desired` can make a device begin one good package after the other, and restart it in between, or cancel each
//! trial. What such a turn costs is one erase of each sector of the slot and of the block table, and three of a sector of otadata. So the
//! journal keeps account of what was begun, and a try is
//!
//! | | |
//! |---|---|
//! | free | if its package is newer than all that were begun before: there are only so many signed ones, each is the newest once |
//! | free | if more of the package is held than when it was tried last: a download that goes on erases no sector twice |
//! | paid for | else: with [`COST`] of running time, of which [`CREDIT`] can be spent in advance |
//!
//! Updates that somebody signs, one newer than the other, never wait, be they a hundred in a day; nor does a download that is cut off
//! and goes on. Time counts while the device runs, for that is the one clock that nobody can set. A device that hears nothing but
//! wishes for packages that it has had begins 24 of them a day, after the first 21: flash for 100,000 erases takes that for years.

use otaria_wire::journal::Wear;

/// What a try costs that is not free, in seconds.
pub const COST: u32 = 3_600;
/// How much can be owed when another one begins, in seconds.
pub const CREDIT: u32 = 20 * COST;
/// Above the credit the account is kept in the journal in steps of so many seconds, so that a device that runs for minutes at a time
/// comes out of debt, too. A cell each, 120 for each try that was paid for.
const STEP: u32 = 30;

/// A try to bring a package into flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// The first bytes of the package's identity.
    pub identity8: [u8; 8],
    /// The package's sequence.
    pub sequence: u64,
    /// Blocks of it that are in the slot.
    pub blocks_held: u16,
}

/// The account after `attempt`, which comes when the device has run for `passed` whole seconds since `account` was kept.
///
/// # Errors
/// How many seconds to wait. Nothing changes by having asked.
pub fn begin(account: &Wear, passed: u32, attempt: &Try) -> Result<Wear, u32> {
    let newest = attempt.sequence > account.sequence;
    let same = attempt.identity8 == account.identity8;
    let goes_on = same && attempt.blocks_held > account.blocks_held;
    let mut owed_s = account.owed_s.saturating_sub(passed);
    if !newest && !goes_on {
        if owed_s > CREDIT {
            return Err(owed_s - CREDIT);
        }
        owed_s += COST;
    }
    Ok(Wear {
        owed_s,
        sequence: account.sequence.max(attempt.sequence),
        identity8: attempt.identity8,
        blocks_held: attempt.blocks_held,
    })
}

/// The account to be kept after the device has run for `passed` whole seconds; `None` if it need not be.
#[must_use]
pub fn recovered(account: &Wear, passed: u32) -> Option<Wear> {
    (account.owed_s > CREDIT && passed >= STEP).then(|| Wear {
        owed_s: account.owed_s.saturating_sub(passed),
        ..*account
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(package: u8, blocks_held: u16) -> Try {
        Try {
            identity8: [package; 8],
            sequence: u64::from(package),
            blocks_held,
        }
    }

    /// How many of `tries` begin, `pause` apart, the device being restarted each time or not.
    fn begun(tries: impl Iterator<Item = Try>, pause: u32, restarted: bool) -> usize {
        let mut account = Wear::default();
        let mut passed = 0;
        let mut begun = 0;
        for attempt in tries {
            if let Ok(after) = begin(&account, passed, &attempt) {
                account = after;
                passed = 0;
                begun += 1;
            }
            passed += pause;
            if let Some(after) = recovered(&account, passed) {
                account = after;
                passed = 0;
            }
            if restarted {
                passed = 0;
            }
        }
        begun
    }

    #[test]
    fn packages_that_are_each_newer_than_the_last_never_wait() {
        assert_eq!(begun((1..=250).map(|n| of(n, 0)), 0, true), 250);
    }

    #[test]
    fn a_download_that_is_cut_off_after_every_block_never_waits() {
        assert_eq!(begun((0..200).map(|n| of(7, n)), 0, true), 200);
    }

    #[test]
    fn packages_that_alternate_are_begun_so_often_and_then_once_in_an_hour() {
        let day = 24 * 360;
        let alternate = |n: u64| of(1 + u8::try_from(n % 2).unwrap(), 0);
        // Both are the newest once; 21 begin at once; and one in each hour of the day.
        let most = 2 + 21 + 24;
        let run = begun((0..day).map(alternate), 10, false);
        assert!((most - 1..=most).contains(&run), "{run}");
        // Whoever restarts the device sooner than it can keep the account gets no more.
        assert_eq!(begun((0..day).map(alternate), 10, true), 2 + 21);
    }

    #[test]
    fn blocks_that_are_lost_and_fetched_again_are_paid_for() {
        let lost = (0..100).map(|n| of(7, if n % 2 == 0 { 0 } else { 5 }));
        // The first is the newest, each five go on.
        assert_eq!(begun(lost, 0, false), 1 + 21 + 22);
    }

    #[test]
    fn who_is_over_the_credit_is_told_how_long_to_wait_and_then_begins() {
        let mut account = Wear {
            sequence: 9,
            ..Wear::default()
        };
        while let Ok(after) = begin(&account, 0, &of(7, 0)) {
            account = after;
        }
        let wait = begin(&account, 600, &of(7, 0)).unwrap_err();
        assert_eq!(wait, COST - 600);
        assert!(begin(&account, COST - 1, &of(7, 0)).is_err());
        assert!(begin(&account, COST, &of(7, 0)).is_ok());
    }

    #[test]
    fn a_device_that_runs_for_a_minute_at_a_time_comes_out_of_debt() {
        let mut account = Wear {
            owed_s: CREDIT + COST,
            sequence: 9,
            ..Wear::default()
        };
        let mut kept = 0;
        for _ in 0..60 {
            account = recovered(&account, 60).unwrap();
            kept += 1;
        }
        assert!(begin(&account, 0, &of(7, 0)).is_ok());
        // Below the credit nobody waits, and nothing is written.
        assert_eq!(recovered(&account, COST), None);
        assert!(kept <= 120);
    }
}

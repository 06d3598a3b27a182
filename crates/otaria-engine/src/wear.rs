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

use crate::time::Duration;

/// What a try costs that is not free.
pub const COST: Duration = Duration::from_secs(3_600);
/// How much can be owed when another one begins.
pub const CREDIT: Duration = Duration::from_secs(20 * 3_600);
/// Above the credit the account is kept in the journal in steps of this, so that a device that runs for minutes at a time
/// comes out of debt, too. A cell each, 120 for each try that was paid for.
const STEP: Duration = Duration::from_secs(30);

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

/// The account after `attempt`, which comes when the device has run for `passed` since `account` was kept.
///
/// # Errors
/// How long to wait. Nothing changes by having asked.
pub fn begin(account: &Wear, passed: Duration, attempt: &Try) -> Result<Wear, Duration> {
    let newest = attempt.sequence > account.sequence;
    let same = attempt.identity8 == account.identity8;
    let goes_on = same && attempt.blocks_held > account.blocks_held;
    let mut owed = owed(account, passed);
    if !newest && !goes_on {
        if owed > CREDIT {
            return Err(owed.saturating_sub(CREDIT));
        }
        owed = owed.saturating_add(COST);
    }
    Ok(Wear {
        owed_s: seconds(owed),
        sequence: account.sequence.max(attempt.sequence),
        identity8: attempt.identity8,
        blocks_held: attempt.blocks_held,
    })
}

/// The account to be kept after the device has run for `passed`; `None` if it need not be.
#[must_use]
pub fn recovered(account: &Wear, passed: Duration) -> Option<Wear> {
    let before = Duration::from_secs(u64::from(account.owed_s));
    (before > CREDIT && passed >= STEP).then(|| Wear {
        owed_s: seconds(owed(account, passed)),
        ..*account
    })
}

fn owed(account: &Wear, passed: Duration) -> Duration {
    Duration::from_secs(u64::from(account.owed_s)).saturating_sub(passed)
}

/// Rounded up: whoever asks often must not gain by it.
fn seconds(owed: Duration) -> u32 {
    u32::try_from(owed.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = COST;

    fn of(package: u8, blocks_held: u16) -> Try {
        Try {
            identity8: [package; 8],
            sequence: u64::from(package),
            blocks_held,
        }
    }

    /// How many of `tries` begin, `pause` apart, the device being restarted each time or not.
    fn begun(tries: impl Iterator<Item = Try>, pause: Duration, restarted: bool) -> usize {
        let mut account = Wear::default();
        let mut passed = Duration::ZERO;
        let mut begun = 0;
        for attempt in tries {
            if let Ok(after) = begin(&account, passed, &attempt) {
                account = after;
                passed = Duration::ZERO;
                begun += 1;
            }
            passed = passed.saturating_add(pause);
            if let Some(after) = recovered(&account, passed) {
                account = after;
                passed = Duration::ZERO;
            }
            if restarted {
                passed = Duration::ZERO;
            }
        }
        begun
    }

    #[test]
    fn packages_that_are_each_newer_than_the_last_never_wait() {
        assert_eq!(
            begun((1..=250).map(|n| of(n, 0)), Duration::ZERO, true),
            250
        );
    }

    #[test]
    fn a_download_that_is_cut_off_after_every_block_never_waits() {
        assert_eq!(begun((0..200).map(|n| of(7, n)), Duration::ZERO, true), 200);
    }

    #[test]
    fn packages_that_alternate_are_begun_so_often_and_then_once_in_an_hour() {
        let day = 24 * 360;
        let alternate = |n: u64| of(1 + u8::try_from(n % 2).unwrap(), 0);
        let ten_seconds = Duration::from_secs(10);
        // Both are the newest once; 21 begin at once; and one in each hour of the day.
        let most = 2 + 21 + 24;
        let run = begun((0..day).map(alternate), ten_seconds, false);
        assert!((most - 1..=most).contains(&run), "{run}");
        // Whoever restarts the device sooner than it can keep the account gets no more.
        assert_eq!(begun((0..day).map(alternate), ten_seconds, true), 2 + 21);
    }

    #[test]
    fn blocks_that_are_lost_and_fetched_again_are_paid_for() {
        let lost = (0..100).map(|n| of(7, if n % 2 == 0 { 0 } else { 5 }));
        // The first is the newest, each five go on.
        assert_eq!(begun(lost, Duration::ZERO, false), 1 + 21 + 22);
    }

    #[test]
    fn who_is_over_the_credit_is_told_how_long_to_wait_and_then_begins() {
        let mut account = Wear {
            sequence: 9,
            ..Wear::default()
        };
        while let Ok(after) = begin(&account, Duration::ZERO, &of(7, 0)) {
            account = after;
        }
        let wait = begin(&account, Duration::from_secs(600), &of(7, 0)).unwrap_err();
        assert_eq!(wait, HOUR.saturating_sub(Duration::from_secs(600)));
        let rest = HOUR.saturating_sub(Duration::from_micros(1));
        assert!(begin(&account, rest, &of(7, 0)).is_err());
        assert!(begin(&account, HOUR, &of(7, 0)).is_ok());
    }

    #[test]
    fn a_device_that_runs_for_a_minute_at_a_time_comes_out_of_debt() {
        let mut account = Wear {
            owed_s: seconds(CREDIT.saturating_add(COST)),
            sequence: 9,
            ..Wear::default()
        };
        let mut kept = 0;
        for _ in 0..60 {
            account = recovered(&account, Duration::from_secs(60)).unwrap();
            kept += 1;
        }
        assert!(begin(&account, Duration::ZERO, &of(7, 0)).is_ok());
        // Below the credit nobody waits, and nothing is written.
        assert_eq!(recovered(&account, HOUR), None);
        assert!(kept <= 120);
    }
}

//! Times of day, by each device's clock.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};

use crate::model::{Day, Window};

/// A time zone by its IANA name, or as an offset such as `+02:00`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if let Some(sign) = name.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let (hours, minutes) = name.get(1..)?.split_once(':')?;
        let number = |text: &str, below: i32| {
            let number: i32 = text.parse().ok()?;
            (text.len() == 2 && number < below).then_some(number)
        };
        let seconds = (number(hours, 24)? * 60 + number(minutes, 60)?) * 60;
        let seconds = if sign == '-' { -seconds } else { seconds };
        return Offset::from_seconds(seconds).ok().map(Offset::to_time_zone);
    }
    TimeZone::get(name).ok()
}

/// Whether a window is open for a device in this time zone. A zone that is not known is the window's own; if that is not
/// known either, the window is closed: better late than in somebody's working hours.
pub(crate) fn is_open(window: &Window, tz: Option<&str>, now: i64) -> bool {
    let Some(zone) = tz.and_then(zone).or_else(|| zone(&window.tz)) else {
        return false;
    };
    let Ok(now) = Timestamp::from_second(now) else {
        return false;
    };
    let local = zone.to_datetime(now);
    let minute =
        u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    let (from, to) = (window.from.0, window.to.0);
    let on = |weekday| window.days.is_empty() || window.days.contains(&day(weekday));
    let (today, yesterday) = (local.weekday(), local.weekday().previous());
    if from < to {
        (from..to).contains(&minute) && on(today)
    } else {
        // Over midnight; one whose ends are the same is open all day.
        (minute >= from && on(today)) || (minute < to && on(yesterday))
    }
}

fn day(weekday: Weekday) -> Day {
    match weekday {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, to: &str, days: Vec<Day>) -> Window {
        Window {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            days,
            tz: "UTC".to_owned(),
        }
    }

    fn at(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_window_is_open_by_the_devices_clock() {
        let night = window("01:00", "05:00", vec![]);
        for (tz, time, open) in [
            (None, "2026-11-28T01:00:00Z", true),
            (None, "2026-11-28T05:00:00Z", false),
            (Some("Europe/Berlin"), "2026-11-28T00:00:00Z", true),
            (Some("Europe/Berlin"), "2026-11-28T04:00:00Z", false),
            // Summer time: two hours ahead.
            (Some("Europe/Berlin"), "2026-07-01T23:00:00Z", true),
            (Some("Europe/Berlin"), "2026-11-28T23:00:00Z", false),
            (Some("+05:30"), "2026-11-28T19:30:00Z", true),
            (Some("-08:00"), "2026-11-28T09:00:00Z", true),
            (Some("Atlantis/Deep"), "2026-11-28T02:00:00Z", true),
        ] {
            assert_eq!(is_open(&night, tz, at(time)), open, "{tz:?} {time}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // 2026-11-27 is a Friday.
        let friday = window("22:00", "04:00", vec![Day::Fri]);
        for (time, open) in [
            ("2026-11-27T21:59:00Z", false),
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T03:59:00Z", true),
            ("2026-11-28T04:00:00Z", false),
            ("2026-11-28T22:00:00Z", false),
            ("2026-11-27T03:00:00Z", false),
        ] {
            assert_eq!(is_open(&friday, None, at(time)), open, "{time}");
        }
        assert!(is_open(&window("00:00", "00:00", vec![]), None, 12_345));
    }

    #[test]
    fn an_unknown_zone_of_the_window_itself_keeps_it_closed() {
        let mut window = window("00:00", "00:00", vec![]);
        window.tz = "Nowhere".to_owned();
        assert!(!is_open(&window, None, 0) && is_open(&window, Some("UTC"), 0));
        assert!(zone("+25:00").is_none() && zone("+2").is_none() && zone("-00:61").is_none());
    }
}

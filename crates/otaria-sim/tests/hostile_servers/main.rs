//! Web servers, and what stands between them and a device, that do not do what they should.
//!
//! Each row says what is done, how the job ends, how often the device asks until then, and what it does to the slot. After each
//! row the image that should run runs, the bootloader would start it again, and a good update succeeds.

mod answers;
mod contradictions;
mod misleading;
mod odd;
mod resuming;
mod row;
mod silence;
#[path = "../stage/mod.rs"]
mod stage;
mod trial;

use otaria_package::pack::CodecChoice;
use otaria_sim::peers::web::File;
use otaria_wire::messages::{EventKind, FailureCode};
use row::*;
use stage::bad_web::{Act, Ask, Files, answering, greeting, present};
use stage::{MINUTE, Plan, Stage, play, release};

fn act(row: &Row) -> Result<(), String> {
    let stage = Stage::set(&Plan {
        image_len: 128 * 1024,
        settings: |settings| {
            settings.allowed_hosts = ["files", "elsewhere"].map(str::to_owned).to_vec();
        },
        ..Plan::default()
    });
    let image = release("1.1.0", IMAGE_LEN);
    let files = Files {
        good: stage.package_of(&image, CodecChoice::Stored).bytes.into(),
        other: stage
            .package("1.2.0", IMAGE_LEN, CodecChoice::Stored)
            .bytes
            .into(),
        image: image.into(),
    };
    stage.put("/app.otaria", files.good.to_vec());
    stage
        .elsewhere
        .put("/app.otaria", File::new(files.good.clone(), "one"));
    let mut url = "http://files/app.otaria";
    let mut log = None;
    match row.how {
        Web(answer) => {
            let (front, seen) = answering(answer, present, &files);
            stage.web_door.put(front);
            log = Some(seen);
        }
        Head(presence) => {
            let (front, seen) = answering(answers::good, presence, &files);
            stage.web_door.put(front);
            log = Some(seen);
        }
        Greet(acts) => stage.web_door.put(greeting(acts)),
        Net(change) => change(&stage),
        Url(other) => url = other,
    }
    let before = stage.op_count();
    let wish = format!(r#"{{"job":"bad","url":"{url}"}}"#);
    stage.publish("desired", wish, true);

    let retries = |stage: &Stage, code| {
        let events = stage.events_of("bad");
        let retry = events
            .iter()
            .filter(|event| event.event == EventKind::Retrying && event.failure() == Some(code));
        retry.count()
    };
    let exhausted = |stage: &Stage| retries(stage, FailureCode::RetriesExhausted) > 0;
    let is_over = |stage: &Stage| match row.end {
        Confirmed | ConfirmedOther | Final(_) => stage.end_of("bad").is_some(),
        KeepsTrying(_) => stage.end_of("bad").is_some() || exhausted(stage),
        Waits(_) => stage.end_of("bad").is_some() || stage.world.now() >= 90 * MINUTE,
    };
    if !stage.run_until(200 * MINUTE, is_over) {
        return Err(format!("no end\n{}", stage.story()));
    }
    let requests = log
        .as_ref()
        .map_or(stage.web_door.visits().len(), |log| log.asks().len());
    let ended = stage
        .end_of("bad")
        .map(|event| (event.event, event.failure()));
    let as_due = match row.end {
        Confirmed | ConfirmedOther => ended == Some((EventKind::Confirmed, None)),
        Final(code) => {
            let kind = match code {
                FailureCode::NotAPackage
                | FailureCode::RedirectRefused
                | FailureCode::UrlRefused => EventKind::Refused,
                _ => EventKind::Failed,
            };
            ended == Some((kind, Some(code)))
        }
        KeepsTrying(code) => ended.is_none() && retries(&stage, code) == TRIES - 1,
        Waits(code) => ended.is_none() && retries(&stage, code) == 1,
    };
    if !as_due {
        return Err(format!(
            "it ended {ended:?} after {requests} requests\n{}",
            stage.story()
        ));
    }
    if requests != row.requests {
        return Err(format!(
            "{requests} requests, {} are due\n{}",
            row.requests,
            stage.story()
        ));
    }
    if let Final(_) = row.end {
        stage.world.run_for(65 * MINUTE);
        let again = log
            .as_ref()
            .map_or(stage.web_door.visits().len(), |log| log.asks().len());
        if again != requests {
            return Err(format!("it is asked for again\n{}", stage.story()));
        }
    }

    let ops = stage.slot_ops(before);
    let len = IMAGE_LEN as u64;
    let (most_erases, written) = match (row.slot, row.end) {
        (Untouched, _) => (0, 0..=0),
        (Filled { interruptions }, Confirmed | ConfirmedOther) => {
            (ERASES + MORE_ERASES * interruptions, len..=len)
        }
        (Filled { interruptions }, Final(_) | KeepsTrying(_) | Waits(_)) => {
            (ERASES + MORE_ERASES * interruptions, 0..=len)
        }
        (BlockATry, _) => (row.requests * MORE_ERASES, 0..=row.requests as u64 * 16_384),
        (FilledTwice, _) => (2 * ERASES + 2 * MORE_ERASES, len..=2 * len),
    };
    if ops.erases > most_erases || !written.contains(&ops.written) {
        return Err(format!(
            "{ops:?}, where {most_erases} erases and {written:?} bytes are due"
        ));
    }
    stage.check(match row.end {
        Confirmed => "1.1.0",
        ConfirmedOther => "1.2.0",
        Final(_) | KeepsTrying(_) | Waits(_) => "1.0.0",
    })?;
    stage.all_is_well();
    stage.later_update()
}

fn play_all(rows: &[Row]) {
    play(rows, |row| row.name, act);
}

#[test]
fn odd_servers_are_good_enough() {
    play_all(&odd::rows());
}

#[test]
fn a_download_is_resumed_whatever_the_server_makes_of_it() {
    play_all(&resuming::rows());
}

#[test]
fn answers_that_contradict_themselves_are_reported() {
    play_all(&contradictions::rows());
}

#[test]
fn nobody_sends_a_device_where_it_does_not_go() {
    play_all(&misleading::rows());
}

#[test]
fn an_image_on_trial_takes_any_status_line_for_a_server() {
    play_all(&trial::rows());
}

#[test]
fn silence_is_reported_and_ends() {
    play_all(&silence::rows());
}

#[test]
fn an_image_that_is_no_package_is_reported_with_what_to_do() {
    let stage = Stage::new();
    stage.put("/app.bin", release("1.1.0", IMAGE_LEN));
    stage.wish("bad", "/app.bin");
    assert!(stage.run_until(MINUTE, |stage| stage.end_of("bad").is_some()));
    let end = stage.end_of("bad").expect("an end");
    assert_eq!(end.failure(), Some(FailureCode::NotAPackage));
    let text = end.text.unwrap_or_default();
    assert!(text.contains("otaria package"), "{text}");
}

/// The files of a stage with one good package.
fn one_package(stage: &Stage) -> Files {
    let image = release("1.1.0", IMAGE_LEN);
    let package = stage.package_of(&image, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes.clone());
    let good: std::rc::Rc<[u8]> = package.bytes.into();
    Files {
        other: good.clone(),
        good,
        image: image.into(),
    }
}

#[test]
fn a_trial_that_somebody_cancels_while_it_waits_is_not_brought_back_by_a_restart() {
    let stage = Stage::new();
    let files = one_package(&stage);
    let (front, _) = answering(answers::good, |_| vec![Act::Hang], &files);
    stage.web_door.put(front);
    stage.wish("bad", "/app.otaria");
    let waits = |stage: &Stage| {
        stage.has(
            "bad",
            EventKind::Retrying,
            Some(FailureCode::TrialNoNetwork),
        )
    };
    assert!(stage.run_until(60 * MINUTE, waits), "{}", stage.story());
    stage.publish("cmd", r#"{"id":"1","cmd":"cancel"}"#, false);
    let cancelled = |stage: &Stage| stage.has("bad", EventKind::Cancelled, None);
    assert!(stage.run_until(MINUTE, cancelled), "{}", stage.story());
    stage.all_is_well();
    stage.device.press_reset();
    stage.world.run_for(30 * MINUTE);
    stage
        .check("1.0.0")
        .unwrap_or_else(|why| panic!("{why}\n{}", stage.story()));
    stage.later_update().unwrap();
}

#[test]
fn a_job_that_names_what_is_being_fetched_goes_on_with_it_and_gets_the_result() {
    let stage = Stage::new();
    let files = one_package(&stage);
    let answer = |ask: &Ask, files: &Files| match ask.number {
        0 => answers::cut_with(ask, &files.good, answers::ETAG, 60_000, vec![Act::Hang]),
        _ => answers::good(ask, files),
    };
    let (front, log) = answering(answer, present, &files);
    stage.web_door.put(front);
    let before = stage.op_count();
    stage.publish("desired", "http://files/app.otaria", true);
    stage.world.run_for(MINUTE / 4);
    stage.wish("named", "/app.otaria");
    let over = |stage: &Stage| stage.end_of("named").is_some();
    assert!(stage.run_until(10 * MINUTE, over), "{}", stage.story());
    let end = stage.end_of("named").map(|event| event.event);
    assert_eq!(end, Some(EventKind::Confirmed), "{}", stage.story());
    stage.check("1.1.0").unwrap();
    let ranges: Vec<_> = log.asks().iter().map(|ask| ask.range_from).collect();
    assert!(
        matches!(ranges[..], [None, Some(from)] if from > 3 * 16_384),
        "{ranges:?}"
    );
    assert_eq!(stage.slot_ops(before).written, IMAGE_LEN as u64);
}

#[test]
fn the_table_is_large() {
    let all = [
        odd::rows(),
        resuming::rows(),
        contradictions::rows(),
        misleading::rows(),
        silence::rows(),
        trial::rows(),
    ];
    let rows: usize = all.iter().map(Vec::len).sum();
    assert!(rows >= 100, "{rows}");
}

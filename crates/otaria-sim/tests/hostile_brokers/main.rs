//! Brokers, and whoever stands between them and a device or writes to its topics, that do not do what they should.
//!
//! Each row lasts ten minutes, at the start of which a firmware is wished for. It says whether the update is through by then, and
//! how often the device may have connected. Then the broker is a good one: the update and its reports must get through, without a
//! second download and without a restart too many, and so must a later one.

mod accidents;
mod messages;
mod packets;
mod refusing;
mod row;
#[path = "../stage/mod.rs"]
mod stage;
mod unreliable;
mod wear;

use std::rc::Rc;

use embedded_io_async::Read;
use otaria_package::pack::CodecChoice;
use otaria_wire::messages::EventKind;
use row::*;
use stage::bad_web::{Act, perform};
use stage::meddler::meddling;
use stage::{DEVICE, Door, Front, MINUTE, SECOND, Stage, good_broker, play};

/// Reads CONNECT, and then does what the row says.
fn raw(bytes: &[u8], after: After) -> Front {
    let bytes: Rc<[u8]> = bytes.into();
    Rc::new(move |mut visit| {
        let bytes = bytes.clone();
        Box::pin(async move {
            let mut connect = [0; 1024];
            if visit.stream.read(&mut connect).await.is_err() {
                return;
            }
            let bytes = bytes.to_vec();
            let acts = match after {
                Hang => vec![Act::Send(bytes), Act::Hang],
                Close => vec![Act::Send(bytes)],
                Reset => vec![Act::Send(bytes), Act::Reset],
                Repeat => vec![Act::Endless(bytes)],
                Drip => vec![Act::Drip(bytes, 1, 10 * SECOND), Act::Hang],
            };
            perform(acts, visit.stream, &visit.world).await;
        })
    })
}

fn act(row: &Row) -> Result<(), String> {
    let stage = Stage::new();
    let inner = 1884;
    Door::open(
        &stage.world,
        &stage.broker_host,
        inner,
        good_broker(&stage.broker),
    );
    let package = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes);

    let began = stage.world.now();
    match &row.how {
        Raw(bytes, after) => stage.broker_door.put(raw(bytes, *after)),
        Meddle(with) => {
            let inner = (stage.broker_host.addr(), inner).into();
            stage
                .broker_door
                .put(meddling(&stage.broker_host, inner, *with));
        }
        Do(act) => act(&stage),
    }
    if !matches!(row.how, Do(_)) {
        // It comes back to the new broker.
        stage.broker.restart(true);
    }
    stage.wish("app", "/app.otaria");
    stage.world.run_until(began + BAD_FOR * MINUTE);

    let connections = stage
        .broker_door
        .visits()
        .iter()
        .filter(|at| matches!(row.how, Do(_)) || **at >= began)
        .count();
    let updated = stage.check("1.1.0").is_ok();
    let as_due = match row.meanwhile {
        Shut => !updated && stage.web.requests().is_empty() && stage.check("1.0.0").is_ok(),
        Updated => updated,
    };
    if !as_due || !row.connections.contains(&connections) {
        return Err(format!(
            "updated: {updated}, {connections} connections of {:?}\n{}",
            row.connections,
            stage.story()
        ));
    }
    if matches!(row.how, Meddle(_) | Raw(..)) {
        stage.all_is_well();
        stage.broker.restart(true);
    }

    let state = format!("otaria/v1/{DEVICE}/state");
    let presence = format!("otaria/v1/{DEVICE}/presence");
    let said_all = |stage: &Stage| {
        let state = stage.broker.retained(&state).unwrap_or_default();
        let state = String::from_utf8_lossy(&state).into_owned();
        stage.has("app", EventKind::Confirmed, None)
            && state.contains(r#""version":"1.1.0""#)
            && state.contains(r#""phase":"idle""#)
            && stage.broker.retained(&presence).as_deref() == Some(br#"{"online":true}"#)
    };
    if !stage.run_until(30 * MINUTE, said_all) {
        return Err(format!("it does not get through\n{}", stage.story()));
    }
    let downloads = stage
        .web
        .requests()
        .iter()
        .filter(|request| request.path == "/app.otaria" && request.head.starts_with("GET"))
        .count();
    let confirmed = stage
        .events_of("app")
        .iter()
        .filter(|event| event.event == EventKind::Confirmed)
        .count();
    let starts = stage.device.boots().len();
    if !row.downloads.contains(&downloads) || confirmed != 1 || starts != row.starts {
        return Err(format!(
            "{downloads} downloads, confirmed {confirmed} times, {starts} starts\n{}",
            stage.story()
        ));
    }
    let said = |code| {
        stage
            .events()
            .iter()
            .any(|event| event.event == EventKind::Refused && event.failure() == Some(code))
    };
    let others = stage.other_erases();
    if others > row.other_erases {
        return Err(format!("{others} erases outside the slots"));
    }
    if let Some(code) = row.refused
        && !said(code)
    {
        return Err(format!("{code} is not reported\n{}", stage.story()));
    }
    stage.check("1.1.0")?;
    stage.later_update()
}

fn play_all(rows: &[Row]) {
    play(rows, |row| &row.name, act);
}

#[test]
fn a_broker_that_refuses_is_asked_again_and_again_but_not_often() {
    play_all(&refusing::rows());
}

#[test]
fn an_unreliable_broker_delays_an_update_at_most() {
    play_all(&unreliable::rows());
}

#[test]
fn messages_that_mean_no_good_are_refused() {
    play_all(&messages::rows());
}

#[test]
fn accidents_of_the_broker_cost_nothing_but_time() {
    play_all(&accidents::rows());
}

#[test]
fn the_console_says_why_there_is_no_broker_at_once_and_then_once_a_minute() {
    let stage = Stage::new();
    assert!(stage.device.console().is_empty());
    let mut known = 0;
    let mut says = |why: &str, stage: &Stage| {
        stage.host.reset_connections();
        stage.world.run_for(10 * MINUTE);
        let console = stage.device.console();
        let lines = console[known..].iter().filter(|line| line.contains(why));
        let lines = lines.count();
        assert!((2..=11).contains(&lines), "{why}: {console:#?}");
        known = console.len();
    };
    stage.net.forget_name("broker");
    says("could not be resolved", &stage);
    // Nobody listens there.
    stage.net.name("broker", [10, 0, 0, 3].into());
    says("refused", &stage);
    stage.net.name("broker", stage.broker_host.addr());
    stage
        .broker_door
        .put(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", Close));
    says("not MQTT", &stage);
    stage.all_is_well();
    stage.world.run_for(10 * MINUTE);
    let after = stage.device.console().len();
    stage.world.run_for(10 * MINUTE);
    assert_eq!(stage.device.console().len(), after);
}

#[test]
fn the_table_is_large() {
    let all = [
        refusing::rows(),
        unreliable::rows(),
        messages::rows(),
        accidents::rows(),
    ];
    let rows: usize = all.iter().map(Vec::len).sum();
    assert!(rows >= 100, "{rows}");
}

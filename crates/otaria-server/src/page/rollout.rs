//! `/rollouts`: all rollouts, and each of them with its waves and devices.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::form::see;
use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, bar, encoded, name};
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Rollout, RolloutAction, RolloutSpec, RolloutState, Stage, StageCounts};
use crate::shared::Shared;

/// Rollouts and devices on one page.
const ROLLOUTS: u32 = 50;
const DEVICES: u32 = 100;

type Shares = State<Arc<Shared>>;
type Asked = Result<Query<Listed>, QueryRejection>;

#[derive(Template)]
#[template(path = "rollouts.html")]
struct Rollouts {
    frame: Frame,
    rollouts: Vec<Summary>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    frame: Frame,
    one: Summary,
    reason: String,
    waits_for: String,
    actions: Vec<Action>,
    waves: Vec<Wave>,
    /// Name, address, and whether it is the one that is shown.
    filters: Vec<(&'static str, String, bool)>,
    devices: Vec<Member>,
    here: String,
    next: Option<String>,
    asked: Vec<(&'static str, String)>,
}

struct Summary {
    id: String,
    state: Mark,
    version: String,
    counts: StageCounts,
    /// Markup.
    bar: String,
    begun: String,
}

struct Wave {
    name: String,
    counts: StageCounts,
    /// Markup.
    bar: String,
    current: bool,
}

struct Member {
    device: String,
    wave: u32,
    stage: Mark,
    since: String,
    offers: u32,
    why: String,
}

/// A button.
struct Action {
    name: &'static str,
    label: &'static str,
    class: &'static str,
    /// Asked before it is done.
    question: &'static str,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    after: Option<String>,
    stage: Option<String>,
}

impl Summary {
    fn new(rollout: &Rollout, now: i64) -> Self {
        Self {
            id: rollout.id.clone(),
            state: rollout.state.into(),
            version: rollout.version.clone(),
            counts: rollout.total,
            bar: bar(&rollout.total),
            begun: ago(Some(rollout.created_at), now),
        }
    }
}

pub(super) async fn list(State(shared): Shares, frame: Frame, asked: Asked) -> Answer<Response> {
    let Query(Listed { after, .. }) = asked?;
    let now = now();
    let ids = shared.store.rollout_ids(after.as_deref(), ROLLOUTS).await?;
    let mut rollouts = Vec::with_capacity(ids.items.len());
    for id in &ids.items {
        rollouts.push(Summary::new(&shared.rollout(id).await?, now));
    }
    page(&Rollouts {
        frame: frame.of("Rollouts"),
        rollouts,
        next: ids.next,
    })
}

pub(super) async fn show(
    State(shared): Shares,
    frame: Frame,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer<Response> {
    let Query(Listed { after, stage }) = asked?;
    let now = now();
    let rollout = shared.rollout(&id).await?;
    let stage: Option<Stage> = stage.and_then(|stage| stage.parse().ok());
    let from = after.as_deref().and_then(|after| after.parse().ok());
    let devices = shared
        .store
        .rollout_devices(&id, stage, from, DEVICES)
        .await?;
    let at = |stage: Option<Stage>, after: &str| {
        let stage = stage.map_or("", Stage::name);
        format!(
            "/rollouts/{}?stage={stage}&after={}",
            encoded(&id),
            encoded(after)
        )
    };
    let all = std::iter::once(None).chain(Stage::ALL.map(Some));
    page(&RolloutPage {
        one: Summary::new(&rollout, now),
        reason: match rollout.state {
            RolloutState::Halted => rollout.reason.clone().unwrap_or_default(),
            _ => String::new(),
        },
        waits_for: rollout.waits_for.clone().unwrap_or_default(),
        actions: actions(&rollout, &frame),
        waves: waves(&rollout),
        filters: all
            .map(|choice| {
                (
                    choice.map_or("all", Stage::name),
                    at(choice, ""),
                    choice == stage,
                )
            })
            .collect(),
        devices: devices
            .items
            .into_iter()
            .map(|member| Member {
                device: member.device,
                wave: member.wave + 1,
                stage: member.stage.into(),
                since: ago(Some(member.since), now),
                offers: member.offers,
                why: member.why.unwrap_or_default().replace('_', " "),
            })
            .collect(),
        here: at(stage, after.as_deref().unwrap_or_default()),
        next: devices.next.map(|next| at(stage, &next)),
        asked: in_words(&rollout.spec),
        frame: frame.of("Rollouts"),
    })
}

fn waves(rollout: &Rollout) -> Vec<Wave> {
    let going = matches!(
        rollout.state,
        RolloutState::Running | RolloutState::Paused | RolloutState::Halted
    );
    let numbered = (0..).zip(&rollout.waves);
    numbered
        .map(|(n, wave)| Wave {
            name: match wave.name.as_str() {
                "" => format!("wave {}", n + 1),
                name => name.to_owned(),
            },
            counts: wave.counts,
            bar: bar(&wave.counts),
            current: going && n == rollout.wave,
        })
        .collect()
}

/// What can be done to it now, by who looks at it. The server decides again when it is asked for.
fn actions(rollout: &Rollout, frame: &Frame) -> Vec<Action> {
    let button = |name, label, class, question| Action {
        name,
        label,
        class,
        question,
    };
    let going = rollout.state == RolloutState::Running;
    let held = matches!(rollout.state, RolloutState::Paused | RolloutState::Halted);
    let mut actions = Vec::new();
    let wave = rollout.spec.waves.get(rollout.wave as usize);
    if frame.publish && going && wave.is_some_and(|wave| wave.gate.approve) {
        actions.push(button("approve", "Approve next wave", "main", ""));
    }
    if frame.operate && going {
        actions.push(button("pause", "Pause", "", ""));
    }
    if frame.publish && held {
        actions.push(button("resume", "Resume", "main", ""));
    }
    if frame.publish && rollout.total.failed > 0 && rollout.state != RolloutState::Cancelled {
        actions.push(button("retry-failed", "Retry failed", "", ""));
    }
    if frame.operate && (going || held) {
        let question = "Cancel this rollout? It cannot be resumed.";
        actions.push(button("cancel", "Cancel", "danger", question));
    }
    actions
}

fn in_words(spec: &RolloutSpec) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Package", spec.package.to_string()),
        ("Devices", spec.target.clone()),
        ("At the same time", spec.limits.concurrent.to_string()),
        (
            "Retries",
            format!("{}, after {}", spec.limits.retries, spec.limits.retry_after),
        ),
    ];
    if let Some(rate) = &spec.limits.bytes_per_second {
        lines.push(("Bandwidth", format!("{rate} a second")));
    }
    if let Some(failures) = spec.halt.failures {
        lines.push(("Halts at", format!("{failures} failures")));
    }
    if let Some(window) = &spec.window {
        let days: Vec<_> = window.days.iter().map(name).collect();
        let days = match days.as_slice() {
            [] => "every day".to_owned(),
            some => some.join(", "),
        };
        let (from, to, tz) = (window.from, window.to, &window.tz);
        lines.push(("Window", format!("{from} to {to} ({tz}), {days}")));
    }
    lines
}

pub(super) async fn act(
    State(shared): Shares,
    Path((id, action)): Path<(String, String)>,
) -> Answer<Response> {
    let action: RolloutAction = serde_json::from_value(action.clone().into())
        .map_err(|_| Fault::not_found(format!("a rollout cannot be told to '{action}'")))?;
    shared.tell_rollout(&id, action, |_| true, now()).await?;
    Ok(see(&format!("/rollouts/{}", encoded(&id))))
}

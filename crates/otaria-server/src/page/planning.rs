//! `/rollouts/new`: a form, a dry run of it, and its beginning.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::device::unreadable;
use super::form::see;
use super::frame::Frame;
use super::page;
use super::words::{bytes, complaint, encoded, field, span};
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Day, Gate, Plan, PlanRequest, RolloutSpec, Wave, Window};
use crate::shared::Shared;

/// Packages to choose from, and devices of a wave that are named.
const PACKAGES: u32 = 200;
const NAMED: usize = 5;

type Shares = State<Arc<Shared>>;
type Given = Result<Form<Asked>, FormRejection>;

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    frame: Frame,
    form: Asked,
    problem: String,
    packages: Vec<(String, String)>,
    plan: Option<Shown>,
}

/// A plan as it is shown.
struct Shown {
    devices: u64,
    already: u64,
    bytes: String,
    takes: String,
    waves: Vec<PlannedWave>,
    skipped: Vec<String>,
}

struct PlannedWave {
    name: String,
    devices: usize,
    online: u64,
    bytes: String,
    begins: String,
    who: String,
}

/// The form's fields, as texts: what is wrong with one is said in words.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asked {
    name: String,
    package: String,
    target: String,
    canary: String,
    percent: String,
    confirmed: String,
    soak: String,
    failures: String,
    concurrent: String,
    retries: String,
    bandwidth: String,
    from: String,
    to: String,
    days: String,
    tz: String,
    approve: Option<String>,
}

impl Default for Asked {
    fn default() -> Self {
        let spec = crate::model::Limits::default();
        let gate = Gate::default();
        Self {
            name: String::new(),
            package: String::new(),
            target: "all".to_owned(),
            canary: "5".to_owned(),
            percent: "20".to_owned(),
            confirmed: gate.confirmed.to_string(),
            soak: "30m".to_owned(),
            failures: String::new(),
            concurrent: spec.concurrent.to_string(),
            retries: spec.retries.to_string(),
            bandwidth: String::new(),
            from: String::new(),
            to: String::new(),
            days: String::new(),
            tz: "UTC".to_owned(),
            approve: None,
        }
    }
}

impl Asked {
    /// Names and values, for fields that are not seen.
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let mut pairs = vec![
            ("name", self.name.as_str()),
            ("package", &self.package),
            ("target", &self.target),
            ("canary", &self.canary),
            ("percent", &self.percent),
            ("confirmed", &self.confirmed),
            ("soak", &self.soak),
            ("failures", &self.failures),
            ("concurrent", &self.concurrent),
            ("retries", &self.retries),
            ("bandwidth", &self.bandwidth),
            ("from", &self.from),
            ("to", &self.to),
            ("days", &self.days),
            ("tz", &self.tz),
        ];
        pairs.extend(self.approve.as_deref().map(|approve| ("approve", approve)));
        pairs
    }

    fn spec(&self) -> Answer<RolloutSpec> {
        let package = field("Package", &self.package)?
            .ok_or_else(|| Fault::bad_request("choose a package"))?;
        let usual = Gate::default();
        let gate = Gate {
            confirmed: field("Confirmed before the next wave", &self.confirmed)?
                .unwrap_or(usual.confirmed),
            soak: field("Soak", &self.soak)?.unwrap_or(usual.soak),
            approve: self.approve.is_some(),
        };
        let mut waves = Vec::new();
        if let Some(count) = field("Canary wave", &self.canary)? {
            waves.push(Wave {
                name: "canary".to_owned(),
                count: Some(count),
                gate: gate.clone(),
                ..Wave::default()
            });
        }
        if let Some(percent) = field("Second wave", &self.percent)? {
            waves.push(Wave {
                name: "second".to_owned(),
                percent: Some(percent),
                gate,
                ..Wave::default()
            });
        }
        waves.push(Wave {
            name: "all others".to_owned(),
            ..Wave::default()
        });
        let mut limits = crate::model::Limits::default();
        limits.concurrent =
            field("At the same time", &self.concurrent)?.unwrap_or(limits.concurrent);
        limits.retries = field("Retries", &self.retries)?.unwrap_or(limits.retries);
        limits.bytes_per_second = field("Bandwidth", &self.bandwidth)?;
        Ok(RolloutSpec {
            name: self.name.trim().to_owned(),
            package,
            target: self.target.trim().to_owned(),
            waves,
            halt: crate::model::HaltRule {
                failures: field("Halt at failures", &self.failures)?,
                ..crate::model::HaltRule::default()
            },
            timeouts: crate::model::Timeouts::default(),
            limits,
            window: self.window()?,
        })
    }

    fn window(&self) -> Answer<Option<Window>> {
        let (from, to) = (field("From", &self.from)?, field("To", &self.to)?);
        let named = self.days.split([',', ' ']).filter(|day| !day.is_empty());
        let days = named.map(day).collect::<Answer<Vec<_>>>()?;
        match (from, to) {
            (None, None) if days.is_empty() => Ok(None),
            (Some(from), Some(to)) => Ok(Some(Window {
                from,
                to,
                days,
                tz: field("Time zone", &self.tz)?.unwrap_or_else(|| "UTC".to_owned()),
            })),
            _ => Err(Fault::bad_request(
                "a window has a time at which it begins and one at which it ends",
            )),
        }
    }
}

fn day(name: &str) -> Answer<Day> {
    serde_json::from_value(name.to_lowercase().into()).map_err(|_| {
        Fault::bad_request(format!(
            "'{name}' is no day: mon, tue, wed, thu, fri, sat, sun"
        ))
    })
}

pub(super) async fn blank(State(shared): Shares, frame: Frame) -> Answer<Response> {
    form(&shared, frame, Asked::default(), None, String::new()).await
}

pub(super) async fn plan(State(shared): Shares, frame: Frame, given: Given) -> Answer<Response> {
    let Form(asked) = given.map_err(unreadable)?;
    match dry_run(&shared, &asked).await {
        Ok(plan) => form(&shared, frame, asked, Some(shown(plan)), String::new()).await,
        Err(fault) => refused(&shared, frame, asked, fault).await,
    }
}

pub(super) async fn apply(State(shared): Shares, frame: Frame, given: Given) -> Answer<Response> {
    let Form(asked) = given.map_err(unreadable)?;
    match begin(&shared, &asked).await {
        Ok(id) => Ok(see(&format!("/rollouts/{}", encoded(&id)))),
        Err(fault) => refused(&shared, frame, asked, fault).await,
    }
}

async fn dry_run(shared: &Shared, asked: &Asked) -> Answer<Plan> {
    let request = PlanRequest {
        spec: asked.spec()?,
        package: None,
    };
    Ok(shared.plan_rollout(request, now()).await?)
}

async fn begin(shared: &Shared, asked: &Asked) -> Answer<String> {
    Ok(shared.create_rollout(asked.spec()?, now()).await?.id)
}

/// The form again, with what is wrong.
async fn refused(shared: &Shared, frame: Frame, asked: Asked, fault: Fault) -> Answer<Response> {
    let again = form(shared, frame, asked, None, complaint(&fault)).await?;
    Ok((fault.status(), again).into_response())
}

async fn form(
    shared: &Shared,
    frame: Frame,
    form: Asked,
    plan: Option<Shown>,
    problem: String,
) -> Answer<Response> {
    let packages = shared.store.packages(None, PACKAGES).await?;
    page(&PlanPage {
        frame: frame.of("Rollouts"),
        form,
        problem,
        packages: packages
            .items
            .into_iter()
            .map(|package| {
                let name = format!("{} {} ({})", package.product, package.version, package.chip);
                (package.digest.to_string(), name)
            })
            .collect(),
        plan,
    })
}

fn shown(plan: Plan) -> Shown {
    let wave = |wave: crate::model::PlannedWave| {
        let mut who = wave.devices[..wave.devices.len().min(NAMED)].join(", ");
        if wave.devices.len() > NAMED {
            who.push_str(" …");
        }
        PlannedWave {
            name: wave.name,
            devices: wave.devices.len(),
            online: wave.online,
            bytes: bytes(wave.bytes),
            begins: span(wave.begins_s),
            who,
        }
    };
    let skipped = plan.skipped.into_iter();
    let left_out = plan.left_out.into_iter();
    Shown {
        devices: plan.devices,
        already: plan.already,
        bytes: bytes(plan.bytes),
        takes: span(plan.seconds),
        waves: plan.waves.into_iter().map(wave).collect(),
        skipped: skipped
            .map(|skipped| format!("{}: {}", skipped.device, skipped.reason))
            .chain(left_out.map(|device| format!("{device}: is in no wave")))
            .collect(),
    }
}

//! Live progress of devices: a bar each on a terminal, a line for each change elsewhere.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::Output;

/// More bars than this nobody can watch; then there is one for all.
const BARS_MAX: usize = 16;

/// The bars. What they show goes to standard error.
pub(crate) struct Bars {
    output: Output,
    all: MultiProgress,
    /// Nothing but lines, because nobody watches a terminal.
    plain: bool,
    style: ProgressStyle,
    devices: HashMap<String, Shown>,
    /// One bar for all of many devices.
    total: Option<ProgressBar>,
}

struct Shown {
    bar: Option<ProgressBar>,
    message: String,
    ended: bool,
}

impl Bars {
    /// Bars for these devices; more may come later.
    pub(crate) fn new<'a>(output: Output, devices: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bars = Bars {
            output,
            all: MultiProgress::new(),
            plain: output.is_json() || !std::io::stderr().is_terminal(),
            style: style("{prefix:<16} {bar:30} {bytes:>11} of {total_bytes:<11} {msg}"),
            devices: HashMap::new(),
            total: None,
        };
        let devices: Vec<&str> = devices.into_iter().collect();
        if !bars.plain && devices.len() > BARS_MAX {
            let bar = ProgressBar::new(devices.len() as u64)
                .with_style(style("{bar:40} {pos} of {len} devices"));
            bars.total = Some(bars.all.add(bar));
        }
        for device in devices {
            bars.add(device);
        }
        bars
    }

    fn add(&mut self, device: &str) -> &mut Shown {
        self.devices
            .entry(device.to_owned())
            .or_insert_with(|| Shown {
                bar: (!self.plain && self.total.is_none()).then(|| {
                    let bar = ProgressBar::new(0).with_style(self.style.clone());
                    self.all.add(bar.with_prefix(device.to_owned()))
                }),
                message: String::new(),
                ended: false,
            })
    }

    /// How many bytes of how many.
    pub(crate) fn progress(&mut self, device: &str, done: u32, total: u32) {
        if let Some(bar) = &self.add(device).bar {
            bar.set_length(total.into());
            bar.set_position(done.into());
        }
    }

    /// What the device is doing, or how it ended.
    pub(crate) fn message(&mut self, device: &str, message: impl Display, ended: bool) {
        let message = message.to_string();
        let shown = self.add(device);
        if shown.message == message && shown.ended == ended {
            return;
        }
        shown.ended = ended;
        shown.message.clone_from(&message);
        if let Some(bar) = &shown.bar {
            if ended {
                bar.set_position(bar.length().unwrap_or(0));
            }
            bar.set_message(message);
        } else if self.total.is_none() {
            self.output.note(format_args!("{device:<16} {message}"));
        }
        if let Some(total) = &self.total {
            let ended = self.devices.values().filter(|shown| shown.ended).count();
            total.set_position(ended as u64);
        }
    }

    /// A remark between the bars.
    pub(crate) fn note(&self, text: impl Display) {
        self.all.suspend(|| self.output.note(text));
    }

    /// Leaves the bars on the screen as they are.
    pub(crate) fn finish(&self) {
        let each = self.devices.values().filter_map(|shown| shown.bar.as_ref());
        for bar in each.chain(&self.total) {
            bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template that does not parse is a mistake in this file; the default style shows as much.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

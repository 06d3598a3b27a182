//! What servers that share a database tell each other: what has changed, for whoever watches at another server, and which devices are
//! cut off. What is told may be lost; what has to be known is in the database.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::Live;
use crate::shared::Shared;
use crate::store::{LONGEST_NOTICE, StoreError};

/// Notices that wait to be told at most; more than these are lost.
const WAITING: usize = 4096;
/// Wait before another try when the database does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// What is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    /// For whoever watches.
    Live(Live),
    /// A device is cut off, with these certificates.
    CutOff {
        device: String,
        serials: Vec<String>,
    },
    /// A device may come again.
    LetIn { device: String },
}

/// Where to put what the others are to be told.
#[derive(Clone, Debug)]
pub(crate) struct Teller(Option<mpsc::Sender<Notice>>);

impl Teller {
    /// With nobody to tell.
    pub(crate) const fn alone() -> Self {
        Self(None)
    }

    /// With neighbours, who are told what comes out at the other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Notice>) {
        let (tell, told) = mpsc::channel(WAITING);
        (Self(Some(tell)), told)
    }

    pub(crate) fn tell(&self, notice: Notice) {
        if let Some(neighbours) = &self.0 {
            let _ = neighbours.try_send(notice);
        }
    }

    /// Whether there is anybody to tell.
    pub(crate) const fn has_neighbours(&self) -> bool {
        self.0.is_some()
    }
}

/// Tells what comes out of a [`Teller`], and hears what others tell, until the server ends.
pub(crate) async fn run(shared: Arc<Shared>, server: String, told: mpsc::Receiver<Notice>) {
    tokio::join!(tell(&shared, &server, told), listen(&shared, &server));
}

async fn tell(shared: &Shared, server: &str, mut told: mpsc::Receiver<Notice>) {
    let mut notices = Vec::new();
    while told.recv_many(&mut notices, WAITING).await > 0 {
        for letter in letters(server, &notices) {
            if let Err(error) = shared.store.notify(&letter).await {
                tracing::warn!("other servers could not be told: {error}");
                break;
            }
        }
        notices.clear();
    }
}

/// As few letters as have room for all: a line that says who writes, and one for each notice, in JSON. A notice that none has
/// room for is left out.
fn letters(server: &str, notices: &[Notice]) -> Vec<String> {
    let mut letters = vec![server.to_owned()];
    for notice in notices {
        let Ok(line) = serde_json::to_string(notice) else {
            continue;
        };
        let needed = 1 + line.len();
        if server.len() + needed > LONGEST_NOTICE {
            continue;
        }
        if letters
            .last()
            .is_none_or(|letter| letter.len() + needed > LONGEST_NOTICE)
        {
            letters.push(server.to_owned());
        }
        if let Some(letter) = letters.last_mut() {
            letter.push('\n');
            letter.push_str(&line);
        }
    }
    letters
}

/// What somebody else tells in a letter. What cannot be read is of a newer server perhaps.
fn read(server: &str, letter: &str) -> Vec<Notice> {
    let mut lines = letter.lines();
    if lines.next() == Some(server) {
        return Vec::new();
    }
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

async fn listen(shared: &Shared, server: &str) {
    loop {
        if let Err(error) = hear(shared, server).await {
            tracing::warn!("other servers cannot be heard: {error}; trying again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn hear(shared: &Shared, server: &str) -> Result<(), StoreError> {
    let Some(mut listener) = shared.store.notices().await? else {
        return Ok(());
    };
    // What was said while nobody listened.
    if let Some(trust) = &shared.trust {
        let (serials, devices) = shared.store.revoked().await?;
        trust.load(serials, devices);
    }
    shared.show(Live::Resync {});
    while let Some(notification) = listener.try_recv().await? {
        for notice in read(server, notification.payload()) {
            take(shared, notice);
        }
    }
    Ok(())
}

fn take(shared: &Shared, notice: Notice) {
    match (notice, &shared.trust) {
        (Notice::Live(live), _) => shared.show(live),
        (Notice::CutOff { device, serials }, Some(trust)) => trust.cut_off(&device, serials),
        (Notice::LetIn { device }, Some(trust)) => trust.let_in(&device),
        (Notice::CutOff { .. } | Notice::LetIn { .. }, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_room_for_what_they_carry_and_carry_all_in_order() {
        let notice = |n: usize| Notice::LetIn {
            device: format!("{n:060}"),
        };
        let notices: Vec<Notice> = (0..500).map(notice).collect();
        let letters = letters("me", &notices);
        assert!(letters.len() > 1);
        let mut carried = Vec::new();
        for letter in &letters {
            assert!(letter.len() <= LONGEST_NOTICE, "{}", letter.len());
            assert_eq!(read("me", letter), [], "nobody hears himself");
            carried.extend(read("somebody", letter));
        }
        assert_eq!(carried, notices);
    }
}

//! `GET /api/v1/stream`: what happens, as it happens, as server-sent events.
//!
//! A reader connects first and reads the current state after that, so that nothing falls between. One that is too slow
//! is told to read it again (`resync`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use utoipa::IntoParams;

use crate::http::{Answer, Fault};
use crate::model::Live;
use crate::shared::Shared;

/// Comments that keep the connection open when nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What to send of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this device.
    device: Option<String>,
    /// Only of this job.
    job: Option<String>,
}

impl Filter {
    fn wants(&self, live: &Live) -> bool {
        let device = self
            .device
            .as_deref()
            .is_none_or(|device| live.device().is_none_or(|of| of == device));
        let job = self.job.as_deref().is_none_or(|job| match live {
            Live::Assignment(assignment) => assignment.job == job,
            Live::Progress { progress, .. } => progress.job.as_ref().is_some_and(|of| of == job),
            Live::Event(event) => event.event.job.as_ref().is_some_and(|of| of == job),
            Live::Resync {} => true,
            Live::Presence { .. } | Live::State { .. } | Live::Log(_) => false,
        });
        device && job
    }
}

struct Reader {
    live: broadcast::Receiver<Arc<Live>>,
    stopping: watch::Receiver<bool>,
    filter: Filter,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let live = tokio::select! {
                live = self.live.recv() => live,
                () = async { drop(self.stopping.wait_for(|stopping| *stopping).await) } => return None,
            };
            let live = match live {
                Ok(live) => live,
                Err(RecvError::Lagged(_)) => Arc::new(Live::Resync {}),
                Err(RecvError::Closed) => return None,
            };
            if self.filter.wants(&live)
                && let Ok(event) = Event::default().event(live.name()).json_data(&*live)
            {
                return Some(event);
            }
        }
    }
}

/// What happens, as it happens, as server-sent events; the `data` of each is one `Live`.
#[utoipa::path(
    get, path = "/stream", tag = "server",
    params(Filter),
    responses((status = OK, body = Live, content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let Query(filter) = query.map_err(Fault::from)?;
    let reader = Reader {
        live: shared.watch(),
        stopping: shared.stopping.subscribe(),
        filter,
    };
    let events = unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

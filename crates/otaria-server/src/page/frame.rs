//! What is around every page: sections, who is logged in, and what they may.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::assets;
use crate::access::Caller;
use crate::http::Session;
use crate::model::Scope;
use crate::shared::Shared;

/// What is around every page. As an extractor it has no section yet.
pub(super) struct Frame {
    /// The section that the page is of.
    pub(super) section: &'static str,
    /// Who is logged in.
    pub(super) user: Option<String>,
    /// The token for forms; empty without a session.
    pub(super) csrf: String,
    /// May bring packages to devices.
    pub(super) publish: bool,
    /// May command and stop devices.
    pub(super) operate: bool,
    /// May manage users and webhooks, and forget key records.
    pub(super) admin: bool,
    /// Nobody has to log in.
    pub(super) open: bool,
    pub(super) broker_connected: bool,
}

impl Frame {
    pub(super) fn of(self, section: &'static str) -> Self {
        Self { section, ..self }
    }

    /// Names and addresses of the sections that this reader may see.
    pub(super) fn sections(&self) -> Vec<(&'static str, &'static str)> {
        let mut sections = vec![
            ("Fleet", "/"),
            ("Rollouts", "/rollouts"),
            ("Packages", "/packages"),
            ("Keys", "/keys"),
        ];
        if self.user.is_some() {
            sections.push(("Tokens", "/tokens"));
        }
        if self.admin {
            sections.push(("Users", "/users"));
            sections.push(("Webhooks", "/webhooks"));
            sections.push(("Audit", "/audit"));
        }
        sections
    }

    /// Where a file that pages load is.
    #[expect(clippy::unused_self, reason = "templates call it on what they have")]
    pub(super) fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }
}

impl FromRequestParts<Arc<Shared>> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<Shared>,
    ) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Caller>();
        let may = |scope| caller.is_some_and(|caller| caller.may(scope));
        let session = parts.extensions.get::<Session>();
        Ok(Self {
            section: "",
            user: caller.and_then(|caller| caller.user.clone()),
            csrf: session.map(Session::csrf).unwrap_or_default(),
            publish: may(Scope::Publish),
            operate: may(Scope::Operate),
            admin: may(Scope::Admin),
            open: shared.is_open(),
            broker_connected: *shared.broker_connected.borrow(),
        })
    }
}

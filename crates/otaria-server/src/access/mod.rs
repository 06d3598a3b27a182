//! Who may do what: people over HTTP, devices at the broker.
//!
//! People have a role; what they come with (a password's session, a token) may do what the role may, or less. One table,
//! [`needed`], says what each request needs; what it does not know needs the most.

mod limiter;
mod login;
mod password;
pub(crate) mod rules;
pub(crate) mod secret;

pub(crate) use limiter::Limiter;
pub use login::FirstAdmin;
pub(crate) use login::{AccessError, SESSION_S, admin_at_start};
pub(crate) use password::Passwords;

use axum::http::Method;

use crate::model::{Role, Scope};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user; none on a server without log-in.
    pub(crate) user: Option<String>,
    /// The id of the token that it came with.
    pub(crate) token: Option<String>,
    role: Role,
    /// What the token may do; none for a session or a log-in.
    limited_to: Option<Vec<Scope>>,
}

impl Caller {
    /// Anybody, on a server without log-in.
    pub(crate) fn anybody() -> Self {
        Self {
            user: None,
            token: None,
            role: Role::Admin,
            limited_to: None,
        }
    }

    /// Somebody who has shown their password a while ago.
    pub(crate) fn logged_in(user: String, role: Role) -> Self {
        Self {
            user: Some(user),
            token: None,
            role,
            limited_to: None,
        }
    }

    /// Somebody, or some program, with a token.
    pub(crate) fn with_token(id: String, user: String, role: Role, scopes: Vec<Scope>) -> Self {
        Self {
            user: Some(user),
            token: Some(id),
            role,
            limited_to: Some(scopes),
        }
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.role.scopes().contains(&scope)
            && self
                .limited_to
                .as_ref()
                .is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Everything that it may.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let all = Scope::ALL.into_iter();
        all.filter(|scope| self.may(*scope)).collect()
    }

    /// Whether it may all that its user may. Only such may make tokens: a narrow token must not make itself a longer life.
    pub(crate) fn is_whole(&self) -> bool {
        self.role.scopes().iter().all(|scope| self.may(*scope))
    }
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Nothing.
    Nothing,
    /// To be somebody.
    LogIn,
    /// What package files need, see [`Downloads`](crate::Downloads).
    Package,
    /// This.
    Scope(Scope),
}

/// What a request needs.
pub(crate) fn needed(method: &Method, path: &str) -> Needed {
    match path {
        "/healthz" | "/readyz" if method.is_safe() => Needed::Nothing,
        "/login" => Needed::Nothing,
        "/logout" => Needed::LogIn,
        _ if method.is_safe() && path.starts_with("/assets/") => Needed::Nothing,
        _ if method.is_safe() && path.starts_with("/packages/") => Needed::Package,
        // Pages have the API's paths, and need what it needs.
        _ => needed_of_resource(
            method,
            path.strip_prefix("/api/v1/")
                .unwrap_or(path.trim_start_matches('/')),
        ),
    }
}

fn needed_of_resource(method: &Method, path: &str) -> Needed {
    let safe = method.is_safe();
    let mut parts = path.split('/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    match (first.unwrap_or_default(), second, third) {
        ("login", None, _) => Needed::Nothing,
        ("whoami" | "password" | "tokens", _, _) => Needed::LogIn,
        // The audit trail names users, and where they come from; webhooks take what happens here elsewhere.
        ("users" | "audit" | "webhooks", _, _) => Needed::Scope(Scope::Admin),
        _ if safe => Needed::Scope(Scope::Read),
        ("keys", None, _) => Needed::Scope(Scope::Operate),
        // A dry run.
        ("rollouts", Some("plan"), None) => Needed::Scope(Scope::Read),
        // Whoever may stop a device may stop a rollout; all else brings packages to devices.
        ("rollouts", Some(_), Some("pause" | "cancel")) => Needed::Scope(Scope::Operate),
        ("rollouts", _, _) => Needed::Scope(Scope::Publish),
        ("packages" | "jobs", None, _) => Needed::Scope(Scope::Publish),
        ("devices", Some(_), Some("publish")) => Needed::Scope(Scope::Publish),
        ("devices", Some(_), Some("certificates")) if *method == Method::POST => {
            Needed::Scope(Scope::Enroll)
        }
        ("devices" | "groups", Some(_), _) => Needed::Scope(Scope::Operate),
        _ => Needed::Scope(Scope::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_needs_follows_from_one_table() {
        for (method, path, scope) in [
            ("GET", "/", Scope::Read),
            ("GET", "/api/v1/devices", Scope::Read),
            ("GET", "/devices/a", Scope::Read),
            ("GET", "/users", Scope::Admin),
            ("POST", "/devices/a/registry", Scope::Operate),
            ("POST", "/devices/a/command", Scope::Operate),
            ("POST", "/devices/a/publish", Scope::Publish),
            ("POST", "/rollouts", Scope::Publish),
            ("POST", "/rollouts/a/pause", Scope::Operate),
            ("POST", "/rollouts/a/resume", Scope::Publish),
            ("POST", "/users/a/remove", Scope::Admin),
            ("POST", "/keys", Scope::Operate),
            ("POST", "/keys/pump/forget", Scope::Admin),
            ("POST", "/assets/a", Scope::Admin),
            ("GET", "/api/v1/stream", Scope::Read),
            ("POST", "/api/v1/packages", Scope::Publish),
            ("POST", "/api/v1/jobs", Scope::Publish),
            ("PUT", "/api/v1/devices/a/groups", Scope::Operate),
            ("PATCH", "/api/v1/devices/a/tags", Scope::Operate),
            ("PUT", "/api/v1/groups/a", Scope::Operate),
            ("POST", "/api/v1/rollouts", Scope::Publish),
            ("POST", "/api/v1/rollouts/plan", Scope::Read),
            ("POST", "/api/v1/rollouts/a/pause", Scope::Operate),
            ("POST", "/api/v1/rollouts/a/cancel", Scope::Operate),
            ("POST", "/api/v1/rollouts/a/resume", Scope::Publish),
            ("POST", "/api/v1/rollouts/a/approve", Scope::Publish),
            ("POST", "/api/v1/rollouts/a/retry-failed", Scope::Publish),
            ("DELETE", "/api/v1/devices/a", Scope::Operate),
            ("POST", "/api/v1/devices/a/commands", Scope::Operate),
            ("POST", "/api/v1/devices/a/certificates", Scope::Enroll),
            ("DELETE", "/api/v1/devices/a/certificates", Scope::Operate),
            ("GET", "/api/v1/keys", Scope::Read),
            ("PUT", "/api/v1/keys", Scope::Operate),
            ("DELETE", "/api/v1/keys/pump", Scope::Admin),
            ("GET", "/api/v1/users", Scope::Admin),
            ("GET", "/api/v1/audit", Scope::Admin),
            ("GET", "/metrics", Scope::Read),
            ("GET", "/api/v1/webhooks", Scope::Admin),
            ("POST", "/api/v1/webhooks", Scope::Admin),
            ("POST", "/api/v1/webhooks/a/test", Scope::Admin),
            ("POST", "/api/v1/users", Scope::Admin),
            ("PUT", "/api/v1/users/a/password", Scope::Admin),
            ("POST", "/api/v1/what-comes-later", Scope::Admin),
            ("POST", "/packages/x", Scope::Admin),
            ("DELETE", "/", Scope::Admin),
        ] {
            let method = method.parse().unwrap();
            assert_eq!(
                needed(&method, path),
                Needed::Scope(scope),
                "{method} {path}"
            );
        }
        assert_eq!(needed(&Method::GET, "/packages/x"), Needed::Package);
        assert_eq!(needed(&Method::POST, "/api/v1/login"), Needed::Nothing);
        assert_eq!(needed(&Method::POST, "/api/v1/tokens"), Needed::LogIn);
    }

    #[test]
    fn a_token_may_no_more_than_its_user() {
        let token = |role, scopes: &[Scope]| {
            Caller::with_token("id".to_owned(), "a".to_owned(), role, scopes.to_vec())
        };
        let demoted = token(Role::Viewer, &Scope::ALL);
        assert!(demoted.may(Scope::Read) && !demoted.may(Scope::Publish));
        let narrow = token(Role::Admin, &[Scope::Publish]);
        assert!(narrow.may(Scope::Publish) && !narrow.may(Scope::Read));
        assert!(!narrow.is_whole() && token(Role::Operator, &Scope::ALL).is_whole());
    }
}

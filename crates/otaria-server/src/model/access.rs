//! Users, tokens, certificates of devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroize;

/// A password or a token: shown by nothing but what asks for it by name.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A text names no role or scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessNameError {
    /// No role.
    #[error("a role is viewer, operator or admin")]
    Role,
    /// No scope.
    #[error("a scope is read, publish, operate, enroll or admin")]
    Scope,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, publish, and command devices.
    Operator,
    /// Everything, users included.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The scopes of a role.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Viewer => &[Scope::Read],
            Self::Operator => &[Scope::Read, Scope::Publish, Scope::Operate, Scope::Enroll],
            Self::Admin => &Scope::ALL,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = AccessNameError;

    fn from_str(text: &str) -> Result<Self, AccessNameError> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or(AccessNameError::Role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a token may do, at most: its user's role counts as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything but users.
    Read,
    /// Upload packages and publish them.
    Publish,
    /// Cancel, command, group, forget and revoke devices.
    Operate,
    /// Issue certificates for devices.
    Enroll,
    /// Users and their tokens.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Publish,
        Self::Operate,
        Self::Enroll,
        Self::Admin,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Operate => "operate",
            Self::Enroll => "enroll",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = AccessNameError;

    fn from_str(text: &str) -> Result<Self, AccessNameError> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or(AccessNameError::Scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// Since when.
    pub created_at: i64,
}

/// A user to add, or whose role to change.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The password.
    pub password: Secret,
}

/// Another password.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewPassword {
    /// The present one, for one's own.
    #[serde(default)]
    pub old: Option<Secret>,
    /// The new one.
    pub new: Secret,
}

/// Name and password, for a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What it is for, in words.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long it counts, in days.
    pub days: u32,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its name in addresses; the secret begins with it.
    pub id: String,
    /// Whose.
    pub user: String,
    /// What it is for, in words.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Since when.
    pub created_at: i64,
    /// Until when.
    pub expires_at: i64,
    /// When it was used last, to the hour.
    pub last_used_at: Option<i64>,
}

/// A token that was made just now. Its secret is not to be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// The secret.
    pub secret: Secret,
    /// All else.
    #[serde(flatten)]
    pub token: Token,
}

/// Whom the server takes the asker for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The user; none on a server without log-in.
    pub user: Option<String>,
    /// What this access may do.
    pub scopes: Vec<Scope>,
}

/// A request for a device's certificate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewCertificate {
    /// PKCS#10 in PEM. Only the public key is taken from it.
    pub request: String,
    /// How long it is to count; else as long as the authority.
    #[serde(default)]
    pub days: Option<u32>,
}

/// A device's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The device.
    pub device: String,
    /// Its serial number.
    pub serial: String,
    /// When it was issued.
    pub issued_at: i64,
    /// Until when it counts.
    pub not_after: i64,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

/// A certificate that was issued just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// What the device has to trust, PEM; none if the server's own certificate comes from elsewhere.
    pub ca: Option<String>,
    /// Where the device reaches the broker; none with a broker of the operator's.
    #[serde(default)]
    pub broker: Option<String>,
    /// All else.
    #[serde(flatten)]
    pub about: Certificate,
}

/// A device was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutOff {
    /// The device.
    pub device: String,
    /// The certificates that were revoked by it.
    pub serials: Vec<String>,
}

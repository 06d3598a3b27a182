//! Why a connection with TLS is not made, or ends.

use core::fmt;

use otaria_wire::messages::FailureCode;

/// Why a connection with TLS is not made, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The settings have no authority and no key for this server, so it could not be trusted whatever it shows.
    NobodyTrusted,
    /// The device's own certificate or key, or the key that it shares with the server, is none.
    Identity,
    /// The memory for the connection's buffers is not there.
    NoMemory,
    /// The generator of random numbers yields none that can be used.
    NoRandomness,
    /// What answers does not speak TLS.
    NotTls,
    /// The server does not speak TLS 1.3, or not with what this device knows: ChaCha20-Poly1305, P-256, SHA-256.
    NothingInCommon,
    /// The server ended the connection with this alert (RFC 8446, 6).
    Alert(u8),
    /// The server closed the connection in the middle of the handshake.
    Closed,
    /// The handshake was not over in time.
    Timeout,
    /// A message that has no place there, or is not formed as it must be.
    Protocol,
    /// A record that was not made with the connection's keys, or was changed on the way.
    BadRecord,
    /// A message is larger than the device takes.
    TooLarge,
    /// The server did not take the shared key, and showed no certificate that could be checked instead.
    PskRefused,
    /// The server showed no certificate, or did not prove that it is its own.
    NoCertificate,
    /// The server's certificate has run out.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server's certificate is for another name.
    WrongName,
    /// No authority that this device trusts stands for the server's certificate.
    UnknownAuthority,
    /// A certificate on the way to the authority may not issue certificates.
    NotAnAuthority,
    /// The server's certificate is for something else than a server, or its key for something else than signatures.
    WrongPurpose,
    /// A key or signature on the way to the authority is not P-256 with SHA-256 (RSA, say).
    Algorithm,
    /// A signature on the way to the authority, or of the handshake, is wrong.
    BadSignature,
    /// A certificate is not formed as it must be, or demands something that this device does not know.
    BadCertificate,
}

/// Alerts that the device sends (RFC 8446, 6).
pub(super) mod alert {
    pub(in super::super) const CLOSE_NOTIFY: u8 = 0;
    pub(in super::super) const UNEXPECTED_MESSAGE: u8 = 10;
    pub(in super::super) const BAD_RECORD_MAC: u8 = 20;
    pub(in super::super) const RECORD_OVERFLOW: u8 = 22;
    pub(in super::super) const HANDSHAKE_FAILURE: u8 = 40;
    pub(in super::super) const BAD_CERTIFICATE: u8 = 42;
    pub(in super::super) const UNSUPPORTED_CERTIFICATE: u8 = 43;
    pub(in super::super) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(in super::super) const CERTIFICATE_UNKNOWN: u8 = 46;
    pub(in super::super) const UNKNOWN_CA: u8 = 48;
    pub(in super::super) const DECRYPT_ERROR: u8 = 51;
    pub(in super::super) const PROTOCOL_VERSION: u8 = 70;
    pub(in super::super) const INTERNAL_ERROR: u8 = 80;
    pub(in super::super) const USER_CANCELED: u8 = 90;
    pub(in super::super) const CERTIFICATE_REQUIRED: u8 = 116;
}

impl TlsError {
    /// The number under which this is reported.
    #[must_use]
    pub const fn code(self) -> FailureCode {
        match self {
            Self::NoCertificate => FailureCode::TlsNoCertificate,
            Self::Expired | Self::NotYetValid => FailureCode::TlsExpired,
            Self::WrongName => FailureCode::TlsWrongName,
            Self::UnknownAuthority | Self::NobodyTrusted => FailureCode::TlsUnknownAuthority,
            Self::NotAnAuthority => FailureCode::TlsNotAnAuthority,
            Self::WrongPurpose | Self::Algorithm | Self::BadCertificate | Self::BadSignature => {
                FailureCode::TlsBadCertificate
            }
            Self::Alert(_) | Self::NothingInCommon | Self::PskRefused => FailureCode::TlsRefused,
            Self::NoMemory => FailureCode::TlsNoMemory,
            Self::Identity
            | Self::NoRandomness
            | Self::NotTls
            | Self::Closed
            | Self::Timeout
            | Self::Protocol
            | Self::BadRecord
            | Self::TooLarge => FailureCode::Tls,
        }
    }

    /// The alert that tells the server; `None` if there is nobody to tell, or nothing.
    pub(super) const fn alert(self) -> Option<u8> {
        Some(match self {
            Self::NotTls | Self::Alert(_) | Self::Closed | Self::Timeout => return None,
            Self::NobodyTrusted | Self::Identity | Self::NoMemory | Self::NoRandomness => {
                alert::INTERNAL_ERROR
            }
            Self::NothingInCommon => alert::HANDSHAKE_FAILURE,
            Self::Protocol => alert::UNEXPECTED_MESSAGE,
            Self::BadRecord => alert::BAD_RECORD_MAC,
            Self::TooLarge => alert::RECORD_OVERFLOW,
            Self::PskRefused | Self::UnknownAuthority => alert::UNKNOWN_CA,
            Self::NoCertificate => alert::CERTIFICATE_REQUIRED,
            Self::Expired | Self::NotYetValid => alert::CERTIFICATE_EXPIRED,
            Self::WrongName => alert::CERTIFICATE_UNKNOWN,
            Self::NotAnAuthority | Self::BadCertificate => alert::BAD_CERTIFICATE,
            Self::WrongPurpose | Self::Algorithm => alert::UNSUPPORTED_CERTIFICATE,
            Self::BadSignature => alert::DECRYPT_ERROR,
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyTrusted => {
                "TLS: the settings have no authority to check the server by: provision `ca`"
            }
            Self::Identity => {
                "TLS: the device's own certificate or key is none: provision it again"
            }
            Self::NoMemory => "TLS: no memory for the connection",
            Self::NoRandomness => "TLS: the generator of random numbers yields none",
            Self::NotTls => "TLS: what answers on that port does not speak TLS",
            Self::NothingInCommon => {
                "TLS: the server lacks TLS 1.3 with ChaCha20-Poly1305 and P-256"
            }
            Self::Alert(number) => return refusal(*number, f),
            Self::Closed => "TLS: the server closed the connection during the handshake",
            Self::Timeout => "TLS: the handshake took too long",
            Self::Protocol => "TLS: the server breaks the rules of TLS 1.3",
            Self::BadRecord => "TLS: what was received is not what the server sent",
            Self::TooLarge => "TLS: the server sent a message that is too large",
            Self::PskRefused => "TLS: the server does not take the shared key",
            Self::NoCertificate => "TLS: the server showed no certificate",
            Self::Expired => "TLS: the server's certificate has run out",
            Self::NotYetValid => "TLS: the server's certificate is not valid yet",
            Self::WrongName => "TLS: the server's certificate is for another name",
            Self::UnknownAuthority => {
                "TLS: the server's certificate is from no authority that is trusted here"
            }
            Self::NotAnAuthority => {
                "TLS: the server's certificate is signed by one that may not sign certificates"
            }
            Self::WrongPurpose => "TLS: the server's certificate is not one for servers",
            Self::Algorithm => {
                "TLS: the server's certificates are not all P-256 with SHA-256 (RSA is not taken)"
            }
            Self::BadSignature => "TLS: a signature of the server or of its authority is wrong",
            Self::BadCertificate => "TLS: the server's certificate is malformed",
        })
    }
}

impl core::error::Error for TlsError {}

/// What the server thinks is wrong.
fn refusal(number: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match number {
        alert::HANDSHAKE_FAILURE => {
            "TLS: the server refuses: it lacks TLS 1.3 with ChaCha20-Poly1305 and P-256, or a fitting certificate"
        }
        alert::PROTOCOL_VERSION => "TLS: the server does not speak TLS 1.3",
        alert::CERTIFICATE_REQUIRED => "TLS: the server wants a certificate of the device",
        alert::UNKNOWN_CA => "TLS: the server does not know the authority of the device's certificate",
        alert::CERTIFICATE_EXPIRED => "TLS: the server says that the device's certificate has run out",
        44 => "TLS: the server says that the device's certificate is revoked",
        alert::BAD_CERTIFICATE | alert::UNSUPPORTED_CERTIFICATE | alert::CERTIFICATE_UNKNOWN => {
            "TLS: the server does not take the device's certificate"
        }
        alert::DECRYPT_ERROR => "TLS: the server says that a key or signature of the device is wrong",
        112 => "TLS: the server does not know the name that it was called by",
        115 => "TLS: the server does not know the shared key's name",
        _ => return write!(f, "TLS: the server refuses with alert {number}"),
    })
}

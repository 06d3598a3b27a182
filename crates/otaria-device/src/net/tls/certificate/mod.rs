//! Whether a server's certificate is to be trusted (RFC 5280, 6, for what a device needs of it).
//!
//! P-256 with SHA-256 throughout. Own code, because rustls-webpki 0.103 is 29 kB of flash for the same question (riscv32imc,
//! size-optimised), and does not look at key usages.

mod der;
mod name;
mod parse;
mod signature;
#[cfg(test)]
mod tests;
mod time;

use heapless::Vec;

use super::TlsError;
use super::bytes::Reader;
use crate::time::{NotValid, ValidityTime};
use parse::Certificate;

pub(super) use der::certificates;
pub(super) use signature::{SIGNATURE_MAX, sign, verify};

/// So many certificates may come with the server's own.
const INTERMEDIATES_MAX: usize = 4;
/// So many signatures are checked for one chain, 85 ms each on an ESP32-C3: who sends many that look alike gets no more.
const CHECKS_MAX: usize = 8;

/// By whom and for whom a certificate has to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands<'a> {
    /// Certificates of the authorities that are trusted, one behind the other.
    pub(super) anchors: &'a [u8],
    /// The server's name or address.
    pub(super) host: &'a str,
    pub(super) time: ValidityTime,
}

/// Whether `certificate` is valid at that time.
fn in_force(certificate: &Certificate<'_>, time: ValidityTime) -> Result<(), TlsError> {
    time.check(certificate.not_before, certificate.not_after)
        .map_err(|why| match why {
            NotValid::Expired => TlsError::Expired,
            NotValid::NotYet => TlsError::NotYetValid,
        })
}

/// A server's certificate that is to be trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verified<'a> {
    /// The server's public key.
    pub(super) key: &'a [u8; 65],
    /// Since when it is valid: a moment that has passed, as an authority has signed.
    pub(super) since: u64,
}

/// Checks the list in a Certificate message: the server's own first, then others in any order.
pub(super) fn check<'a>(
    list: &mut Reader<'a>,
    demands: &Demands<'_>,
) -> Result<Verified<'a>, TlsError> {
    if list.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let server = Certificate::parse(entry(list)?)?;
    let mut others: Vec<Certificate<'a>, INTERMEDIATES_MAX> = Vec::new();
    while !list.is_empty() {
        let whole = entry(list)?;
        // Servers send more than is needed, RSA roots of other days for instance; whatever cannot be used is passed over.
        if let Ok(certificate) = Certificate::parse(whole)
            && certificate.key.is_some()
        {
            others.push(certificate).map_err(|_| TlsError::TooLarge)?;
        }
    }
    in_force(&server, demands.time)?;
    if !server.may_serve() {
        return Err(TlsError::WrongPurpose);
    }
    let key = server.key.ok_or(TlsError::Algorithm)?;
    if !name::covers(server.names, demands.host)? {
        return Err(TlsError::WrongName);
    }
    trace(server, &mut others, demands)?;
    Ok(Verified {
        key,
        since: server.not_before,
    })
}

/// One entry of a Certificate message. Its extensions were not asked for, and are not looked at.
fn entry<'a>(list: &mut Reader<'a>) -> Result<&'a [u8], TlsError> {
    let whole = list.vector(3)?.rest();
    list.vector(2)?;
    Ok(whole)
}

/// Goes from the server's certificate from issuer to issuer, to one that is trusted.
fn trace<'a>(
    server: Certificate<'a>,
    others: &mut Vec<Certificate<'a>, INTERMEDIATES_MAX>,
    demands: &Demands<'_>,
) -> Result<(), TlsError> {
    let mut current = server;
    let mut checks = 0;
    for below in 0..=INTERMEDIATES_MAX as u8 {
        let signature = current.signature.ok_or(TlsError::Algorithm)?;
        // What is said if nobody is found who stands for it: what was wrong with the last one who might.
        let mut verdict = TlsError::UnknownAuthority;
        let mut signed_by = |issuer: &Certificate<'_>| {
            checks += 1;
            if checks > CHECKS_MAX {
                return Err(TlsError::TooLarge);
            }
            let key = issuer.key.ok_or(TlsError::Algorithm)?;
            if !verify(key, current.signed, signature) {
                return Err(TlsError::BadSignature);
            }
            if !issuer.may_issue() || issuer.path_len.is_some_and(|most| below > most) {
                return Err(TlsError::NotAnAuthority);
            }
            Ok(())
        };
        for anchor in certificates(demands.anchors) {
            // Whether an authority itself has run out is not asked: it is trusted because it is in the settings.
            let Ok(anchor) = anchor.and_then(Certificate::parse) else {
                continue;
            };
            if anchor.subject == current.issuer {
                match signed_by(&anchor) {
                    Ok(()) => return Ok(()),
                    Err(error) => verdict = error,
                }
            }
        }
        let mut next = None;
        for (at, other) in others.iter().enumerate() {
            if other.subject == current.issuer {
                match signed_by(other).and_then(|()| in_force(other, demands.time)) {
                    Ok(()) => {
                        next = Some(at);
                        break;
                    }
                    Err(error) => verdict = error,
                }
            }
        }
        // Each stands for another once, so this comes to an end.
        current = others.swap_remove(next.ok_or(verdict)?);
    }
    Err(TlsError::UnknownAuthority)
}

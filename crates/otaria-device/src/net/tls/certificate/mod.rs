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
    let mut search = Search {
        others: &others,
        demands,
        checks: 0,
    };
    search.trace(&server, 0, 0)?;
    Ok(Verified {
        key,
        since: server.not_before,
    })
}

/// One entry of a Certificate message. Extensions in it answer to those of ClientHello (RFC 8446, 4.4.2), which asks for none.
fn entry<'a>(list: &mut Reader<'a>) -> Result<&'a [u8], TlsError> {
    let whole = list.vector(3)?.rest();
    list.vector(2)?.end()?;
    Ok(whole)
}

/// The way from the server's certificate to one that is trusted.
struct Search<'s, 'a> {
    others: &'s [Certificate<'a>],
    demands: &'s Demands<'s>,
    /// Signatures that were checked.
    checks: usize,
}

impl<'a> Search<'_, 'a> {
    /// Goes from `current` to its issuer, and so on, to an authority that is trusted; back again if there is none that way, for one
    /// authority may be certified by several. `below`: so many authorities there are on the way so far, and `used` has a bit for each.
    fn trace(&mut self, current: &Certificate<'a>, below: u8, used: u8) -> Result<(), TlsError> {
        if current.signature.is_none() {
            return Err(TlsError::Algorithm);
        }
        // What is said if nobody is found who stands for it: what was wrong with the last one who might.
        let mut verdict = TlsError::UnknownAuthority;
        for anchor in certificates(self.demands.anchors) {
            // Whether an authority itself has run out is not asked: it is trusted because it is in the settings.
            let Ok(anchor) = anchor.and_then(Certificate::parse) else {
                continue;
            };
            if anchor.subject == current.issuer {
                match self.signed_by(current, &anchor, below) {
                    Ok(()) => return Ok(()),
                    Err(error) => verdict = error,
                }
            }
        }
        let others = self.others;
        for (other, bit) in others.iter().zip((0..).map(|at| 1u8 << at)) {
            // Each stands for another once, so this comes to an end.
            if used & bit == 0 && other.subject == current.issuer {
                let stands = self
                    .signed_by(current, other, below)
                    .and_then(|()| in_force(other, self.demands.time))
                    .and_then(|()| self.trace(other, below + 1, used | bit));
                match stands {
                    Ok(()) => return Ok(()),
                    Err(TlsError::TooLarge) => return Err(TlsError::TooLarge),
                    Err(error) => verdict = error,
                }
            }
        }
        Err(verdict)
    }

    /// Whether `issuer` has signed `current`, and may.
    fn signed_by(
        &mut self,
        current: &Certificate<'a>,
        issuer: &Certificate<'_>,
        below: u8,
    ) -> Result<(), TlsError> {
        self.checks += 1;
        if self.checks > CHECKS_MAX {
            return Err(TlsError::TooLarge);
        }
        let signature = current.signature.ok_or(TlsError::Algorithm)?;
        let key = issuer.key.ok_or(TlsError::Algorithm)?;
        if !verify(key, current.signed, signature) {
            return Err(TlsError::BadSignature);
        }
        if !issuer.may_issue() || issuer.path_len.is_some_and(|most| below > most) {
            return Err(TlsError::NotAnAuthority);
        }
        Ok(())
    }
}

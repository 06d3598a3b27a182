//! A message as Standard Webhooks has it (standardwebhooks.com, specification 1.0.0): who it is from can be proved with the
//! secret that both sides know, and one that is sent again later can be told by its time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a secret: the specification wants 24 to 64.
const SECRET_LEN: usize = 32;
/// How secrets are shown.
const PREFIX: &str = "whsec_";

/// A new secret, in Base64.
pub(super) fn secret() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; SECRET_LEN]);
    getrandom::fill(&mut *bytes).expect("the system's random number generator works");
    Zeroizing::new(STANDARD.encode(bytes.as_slice()))
}

/// A secret as receivers' libraries take it.
pub(super) fn shown(secret: &str) -> String {
    format!("{PREFIX}{secret}")
}

/// The header `webhook-signature`; none if the secret is no Base64.
pub(super) fn signature(secret: &str, id: &str, at: i64, body: &str) -> Option<String> {
    let key = Zeroizing::new(STANDARD.decode(secret).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    Some(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the specification's reference implementations.
    #[test]
    fn a_signature_is_as_the_specification_has_it() {
        let signed = signature(
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signed.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_eq!(signature("no base64!", "msg", 0, ""), None);
    }

    #[test]
    fn secrets_differ_and_have_their_length() {
        let (a, b) = (secret(), secret());
        assert_ne!(*a, *b);
        assert_eq!(STANDARD.decode(&*a).unwrap().len(), SECRET_LEN);
    }
}

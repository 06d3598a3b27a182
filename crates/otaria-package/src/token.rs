//! A key in a PKCS#11 token: an HSM, a smart card, or SoftHSM. The private key never leaves it.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use otaria_wire::Sha256Digest;
use otaria_wire::package::SIGNATURE_LEN;

use crate::keys::{PUBLIC_POINT_LEN, PublicKey};
use crate::signer::{SignError, Signer};

/// DER's tag and length before the point, where a token gives it as an OCTET STRING (PKCS#11 2.40, section 2.3.3).
const OCTET_STRING: [u8; 2] = [0x04, PUBLIC_POINT_LEN as u8];

/// A key in a token, with a session that is logged in.
#[derive(Debug)]
pub struct TokenKey {
    session: Session,
    private: ObjectHandle,
    public_key: PublicKey,
}

impl TokenKey {
    /// Opens the key pair labelled `key` in the token labelled `token`, which the library `module` leads to.
    ///
    /// # Errors
    /// [`SignError::Token`], with what was looked for.
    pub fn open(module: &Path, token: &str, key: &str, pin: &str) -> Result<Self, SignError> {
        let failed = |error: cryptoki::error::Error| SignError::Token(error.to_string());
        let context = Pkcs11::new(module).map_err(|error| {
            let module = module.display();
            SignError::Token(format!("{module} is no PKCS#11 library: {error}"))
        })?;
        context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(failed)?;
        let mut found = None;
        for slot in context.get_slots_with_token().map_err(failed)? {
            if context.get_token_info(slot).map_err(failed)?.label() == token {
                found = Some(slot);
            }
        }
        let slot =
            found.ok_or_else(|| SignError::Token(format!("there is no token \"{token}\"")))?;
        let session = context.open_ro_session(slot).map_err(failed)?;
        session
            .login(UserType::User, Some(&AuthPin::from(pin)))
            .map_err(failed)?;
        let labelled = |class| {
            let template = [
                Attribute::Class(class),
                Attribute::Label(key.as_bytes().to_vec()),
            ];
            let objects = session.find_objects(&template).map_err(failed)?;
            match objects[..] {
                [object] => Ok(object),
                _ => Err(SignError::Token(format!(
                    "{} keys are labelled \"{key}\" in token \"{token}\", and one pair of a private and a public one should be",
                    objects.len()
                ))),
            }
        };
        let private = labelled(ObjectClass::PRIVATE_KEY)?;
        let public = labelled(ObjectClass::PUBLIC_KEY)?;
        let attributes = session
            .get_attributes(public, &[AttributeType::EcPoint])
            .map_err(failed)?;
        let public_key = attributes
            .iter()
            .find_map(|attribute| match attribute {
                Attribute::EcPoint(point) => {
                    // Some tokens give the bare point, and its x may begin like DER's length.
                    let inner = point.strip_prefix(&OCTET_STRING);
                    let inner = inner.filter(|inner| inner.len() == PUBLIC_POINT_LEN);
                    PublicKey::from_sec1(inner.unwrap_or(point)).ok()
                }
                _ => None,
            })
            .ok_or_else(|| SignError::Token(format!("\"{key}\" is no P-256 key")))?;
        Ok(Self {
            session,
            private,
            public_key,
        })
    }
}

impl Signer for TokenKey {
    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn sign_digest(&self, digest: &Sha256Digest) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let signature = self
            .session
            .sign(&Mechanism::Ecdsa, self.private, &digest.0)
            .map_err(|error| SignError::Token(error.to_string()))?;
        // CKM_ECDSA gives r || s (PKCS#11 2.40, section 2.3.1).
        signature.try_into().map_err(|signature: Vec<u8>| {
            SignError::Token(format!("a signature of {} bytes", signature.len()))
        })
    }
}

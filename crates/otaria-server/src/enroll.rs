//! Devices are given certificates, and lose them.

use otaria_wire::topics::{DeviceId, NameError};

use crate::audit::Action;
use crate::model::{Certificate, CutOff, IssuedCertificate, NewCertificate};
use crate::neighbours::Notice;
use crate::shared::Shared;
use crate::store::StoreError;
use crate::trust::{Issued, PkiError};

const DAY: i64 = 24 * 60 * 60;
/// Names that look like the server's own at the broker.
const RESERVED: &str = "otaria-server";

/// Why a device gets no certificate, or is not cut off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrollError {
    #[error("'{0}' is no device id: {1}")]
    Device(String, NameError),
    #[error("ids that begin with '{RESERVED}' belong to servers")]
    Reserved,
    #[error("this server runs without TLS; start it with --tls to have certificates")]
    NoTls,
    #[error(
        "this server trusts an authority of yours (--client-ca), so certificates come from there"
    )]
    Elsewhere,
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
    /// Certifies the key in a request for a device.
    pub(crate) async fn certify(
        &self,
        device: &str,
        asked: &NewCertificate,
        now: i64,
    ) -> Result<IssuedCertificate, EnrollError> {
        let id =
            DeviceId::new(device).map_err(|error| EnrollError::Device(device.to_owned(), error))?;
        if device.starts_with(RESERVED) {
            return Err(EnrollError::Reserved);
        }
        let trust = self.trust.as_ref().ok_or(EnrollError::NoTls)?;
        let authority = trust.authority().ok_or(EnrollError::Elsewhere)?;
        let not_after = asked.days.map(|days| now + i64::from(days) * DAY);
        let Issued {
            pem,
            serial,
            not_after,
        } = authority.device(&id, &asked.request, not_after, now)?;
        let about = Certificate {
            device: device.to_owned(),
            serial,
            issued_at: now,
            not_after,
            revoked_at: None,
        };
        let mut tx = self.store.write().await?;
        tx.add_certificate(&about).await?;
        let serial = format!("serial {}", about.serial);
        tx.audit(Action::CertificateIssue, device, &serial).await?;
        tx.commit().await?;
        trust.let_in(device);
        self.neighbours.tell(Notice::LetIn {
            device: device.to_owned(),
        });
        tracing::info!("a certificate for {device}, serial {}", about.serial);
        Ok(IssuedCertificate {
            certificate: pem,
            ca: trust.server_ca().map(str::to_owned),
            broker: self.broker_url.get().cloned(),
            about,
        })
    }

    /// Cuts a device off: now, and for good unless it is added again.
    pub(crate) async fn cut_off(&self, device: &str, now: i64) -> Result<CutOff, EnrollError> {
        DeviceId::new(device).map_err(|error| EnrollError::Device(device.to_owned(), error))?;
        let mut tx = self.store.write().await?;
        let serials = tx.revoke(device, now).await?;
        let revoked = format!("revoked: {}", serials.join(", "));
        tx.audit(Action::DeviceCutOff, device, &revoked).await?;
        tx.commit().await?;
        if let Some(trust) = &self.trust {
            trust.cut_off(device, serials.clone());
        }
        self.neighbours.tell(Notice::CutOff {
            device: device.to_owned(),
            serials: serials.clone(),
        });
        tracing::warn!("{device} is cut off");
        Ok(CutOff {
            device: device.to_owned(),
            serials,
        })
    }
}

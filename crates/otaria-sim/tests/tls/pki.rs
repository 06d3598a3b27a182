//! Authorities and certificates, good ones and others; and what servers of others are told to show and to ask for.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An authority, of the top or below another one.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) der: Vec<u8>,
}

/// A certificate with its chain, as a server or a device shows it.
#[derive(Clone)]
pub(crate) struct Badge {
    /// Its own certificate first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8, in DER.
    pub(crate) key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = authority(name);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        self.below_with(name, |_| {})
    }

    pub(crate) fn below_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (mut params, key) = authority(name);
        change(&mut params);
        let der = params
            .signed_by(&key, &self.issuer())
            .unwrap()
            .der()
            .to_vec();
        Self { params, key, der }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A server's certificate for these names and addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Badge {
        self.server_with(names, |_| {})
    }

    pub(crate) fn server_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Badge {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        self.issue(&params)
    }

    /// A device's certificate.
    pub(crate) fn device(&self, id: &str) -> Badge {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, id);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        self.issue(&params)
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Badge {
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.issuer()).unwrap();
        Badge {
            chain: vec![own.der().to_vec()],
            key: key.serialize_der(),
        }
    }

    /// What somebody makes who has a device's certificate and key, and takes them for an authority's.
    pub(crate) fn of_a_device(device: &Badge) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "device");
        let key = KeyPair::try_from(device.key.as_slice()).unwrap();
        Self {
            params,
            key,
            der: device.chain[0].clone(),
        }
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params, KeyPair::generate().unwrap())
}

impl Badge {
    /// With this authority's certificate behind what it had.
    pub(crate) fn with(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.der.clone());
        self
    }

    /// The key as a device has it: the scalar.
    pub(crate) fn scalar(&self) -> [u8; 32] {
        // ECPrivateKey (RFC 5915): an octet string of 32 bytes behind version 1.
        let mark = [2, 1, 1, 4, 32];
        let at = self
            .key
            .windows(5)
            .position(|window| window == mark)
            .unwrap();
        self.key[at + 5..at + 37].try_into().unwrap()
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect()
    }

    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// Files for a server that shows this: `cert.pem` and `key.pem`, and `ca.pem` with whom it knows its clients by.
    pub(crate) fn write(&self, dir: &Path, clients: &Authority) {
        fs::write(dir.join("cert.pem"), self.chain_pem()).unwrap();
        fs::write(dir.join("key.pem"), self.key_pem()).unwrap();
        fs::write(dir.join("ca.pem"), pem("CERTIFICATE", &clients.der)).unwrap();
    }
}

/// For Mosquitto: a port with TLS, with what [`Badge::write`] has put into `dir`, for those with a certificate of the same authority.
pub(crate) fn mosquitto_lines(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "listener {port} 127.0.0.1\ncafile {dir}/ca.pem\ncertfile {dir}/cert.pem\nkeyfile {dir}/key.pem\n\
         require_certificate true\nuse_identity_as_username true\ntls_version tlsv1.3"
    )
}

/// For nginx: a port with TLS 1.3 and no older one, with what [`Badge::write`] has put into `dir`.
pub(crate) fn nginx_lines(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
         ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;"
    )
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let number = u32::from_be_bytes([
                0,
                three[0],
                three.get(1).copied().unwrap_or(0),
                three.get(2).copied().unwrap_or(0),
            ]);
            for at in 0..4 {
                text.push(match at > three.len() {
                    true => '=',
                    false => DIGITS[(number >> (18 - 6 * at)) as usize & 63] as char,
                });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

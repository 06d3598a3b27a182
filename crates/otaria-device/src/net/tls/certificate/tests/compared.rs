//! The same chains for this check and for rustls-webpki: both say the same, but for a list of differences that are meant.

use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::ring::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{NOW, check, list};
use crate::net::tls::bytes::Reader;
use crate::net::tls::certificate::Demands;

const HOST: &str = "broker.example";

type Change<'c> = &'c dyn Fn(&mut CertificateParams);

/// Changes nothing.
fn as_is(_: &mut CertificateParams) {}

/// Somebody who has a certificate, and may sign others.
struct Party {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

impl Party {
    fn authority(name: &str, change: Change<'_>) -> Self {
        let (params, key) = (authority(name, change), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    /// An authority that this one stands for.
    fn below(&self, name: &str, change: Change<'_>) -> Self {
        let (params, key) = (authority(name, change), KeyPair::generate().unwrap());
        let der = self.certify(&params, &key);
        Self { params, key, der }
    }

    fn certify(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    fn server(&self, names: &[&str], change: Change<'_>) -> Vec<u8> {
        self.certify(&server(names, change), &KeyPair::generate().unwrap())
    }
}

fn authority(name: &str, change: Change<'_>) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    params
}

fn server(names: &[&str], change: Change<'_>) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, HOST);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    params
}

fn ours(chain: &[Vec<u8>], anchors: &[Vec<u8>], host: &str) -> Result<(), String> {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let demands = Demands {
        anchors: &anchors.concat(),
        host,
        time: NOW,
    };
    let list = list(&chain);
    let checked = check(&mut Reader::new(&list), &demands);
    checked.map(|_| ()).map_err(|error| format!("{error:?}"))
}

fn theirs(chain: &[Vec<u8>], anchors: &[Vec<u8>], host: &str) -> Result<(), String> {
    let der = |bytes: &Vec<u8>| CertificateDer::from(bytes.clone());
    let (anchors, chain): (Vec<_>, Vec<_>) = (
        anchors.iter().map(der).collect(),
        chain.iter().map(der).collect(),
    );
    let judge = || {
        let anchors: Result<Vec<_>, _> = anchors.iter().map(anchor_from_trusted_cert).collect();
        let (own, others) = chain.split_first().unwrap();
        let own = EndEntityCert::try_from(own)?;
        let time = UnixTime::since_unix_epoch(core::time::Duration::from_secs(NOW.seconds));
        let (algorithms, usage) = (&[ECDSA_P256_SHA256], KeyUsage::server_auth());
        own.verify_for_usage(algorithms, &anchors?, others, time, usage, None, None)?;
        own.verify_is_valid_for_subject_name(&ServerName::try_from(host).unwrap())
    };
    judge().map_err(|error: webpki::Error| format!("{error:?}"))
}

/// A chain, and what it is judged by.
struct Case {
    name: &'static str,
    chain: Vec<Vec<u8>>,
    anchors: Vec<Vec<u8>>,
    host: &'static str,
}

/// The cases, as they are added.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &'static str, chain: &[&[u8]], anchors: &[&Party]) -> &mut Case {
        self.0.push(Case {
            name,
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            anchors: anchors.iter().map(|party| party.der.clone()).collect(),
            host: HOST,
        });
        self.0.last_mut().unwrap()
    }
}

fn until_2020(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2020, 1, 1);
}

fn from_2040(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2040, 1, 1);
}

fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn no_signatures(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
}

fn no_path(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
}

fn no_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::ExplicitNoCa;
}

fn unknown(critical: bool) -> impl Fn(&mut CertificateParams) {
    move |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99], vec![5, 0]);
        extension.set_criticality(critical);
        params.custom_extensions = vec![extension];
    }
}

fn names_below(permitted: bool, name: &'static str) -> impl Fn(&mut CertificateParams) {
    move |params| {
        let subtrees = vec![GeneralSubtree::DnsName(name.to_string())];
        let (permitted_subtrees, excluded_subtrees) = match permitted {
            true => (subtrees, Vec::new()),
            false => (Vec::new(), subtrees),
        };
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees,
        });
    }
}

/// The last byte of the signature is another.
fn forged(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    *der.last_mut().unwrap() ^= 1;
    der
}

fn of_the_servers_own(cases: &mut Cases) {
    let root = &Party::authority("root", &as_is);
    for (name, change) in [
        ("as it should be", &as_is as Change<'_>),
        ("has run out", &until_2020),
        ("not valid yet", &from_2040),
        ("for clients alone", &for_clients),
        ("its key signs nothing", &no_signatures),
        ("an extension nobody knows", &unknown(false)),
        ("a critical extension nobody knows", &unknown(true)),
        ("says that it is no authority", &no_authority),
        ("is an authority", &no_path),
        ("says nothing of its key's use", &|params| {
            params.key_usages.clear();
        }),
        ("for servers and clients", &|params| {
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
        }),
    ] {
        cases.add(name, &[&root.server(&[HOST], change)], &[root]);
    }
    let good = root.server(&[HOST], &as_is);
    cases.add("forged", &[&forged(&good)], &[root]);
    cases.add("cut off", &[&good[..good.len() - 1]], &[root]);
    cases.add("nobody is trusted", &[&good], &[]);
    cases.add(
        "another root",
        &[&good],
        &[&Party::authority("other", &as_is)],
    );
    let namesake = &Party::authority("root", &as_is);
    cases.add("a root of the same name", &[&good], &[namesake]);
    cases.add("one of two of the same name", &[&good], &[namesake, root]);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let other_curve = root.certify(&server(&[HOST], &as_is), &key);
    cases.add("a key of another curve", &[&other_curve], &[root]);
    let alone = Party::authority(HOST, &|params| *params = server(&[HOST], &as_is));
    cases.add(
        "stands for itself, and is trusted",
        &[&alone.der],
        &[&alone],
    );
    cases.add("stands for itself, and is not", &[&alone.der], &[root]);
}

fn of_names(cases: &mut Cases) {
    let root = &Party::authority("root", &as_is);
    for (name, names, host) in [
        ("another name", &["other.example"][..], HOST),
        ("one of several", &["a.example", HOST, "b.example"], HOST),
        ("capital letters", &["BROKER.example"], "broker.EXAMPLE"),
        ("no name but the common one", &[], HOST),
        ("a star", &["*.example.org"], "a.example.org"),
        (
            "a star for two labels",
            &["*.example.org"],
            "a.b.example.org",
        ),
        ("a star for none", &["*.example.org"], "example.org"),
        (
            "a star within a label",
            &["b*.example.org"],
            "broker.example.org",
        ),
        ("a star for a top-level domain", &["*.example"], HOST),
        ("an address", &["192.0.2.1"], "192.0.2.1"),
        ("another address", &["192.0.2.1"], "192.0.2.2"),
        (
            "an address of the other kind",
            &["2001:db8::1"],
            "2001:db8::1",
        ),
        ("an address for a name", &["192.0.2.1"], HOST),
        ("a name for an address", &[HOST], "192.0.2.1"),
    ] {
        cases
            .add(name, &[&root.server(names, &as_is)], &[root])
            .host = host;
    }
}

fn of_authorities_between(cases: &mut Cases) {
    let root = &Party::authority("root", &as_is);
    for (name, change) in [
        ("an authority between", &as_is as Change<'_>),
        ("it has run out", &until_2020),
        ("it is not valid yet", &from_2040),
        ("it is none", &no_authority),
        ("it says nothing of being one", &|params| {
            params.is_ca = IsCa::NoCa;
        }),
        ("it is for clients", &for_clients),
        ("its key signs no certificates", &no_signatures),
        ("it stands for servers alone", &no_path),
        ("it has a critical extension nobody knows", &unknown(true)),
        ("it has an extension nobody knows", &unknown(false)),
        ("it stands for such names", &names_below(true, "example")),
        ("it stands for other names", &names_below(true, "other")),
        (
            "it does not stand for such names",
            &names_below(false, "example"),
        ),
        ("it does not stand for some addresses", &|params| {
            let subtrees = vec![GeneralSubtree::IpAddress(CidrSubnet::V4(
                [10, 0, 0, 0],
                [255, 0, 0, 0],
            ))];
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: subtrees,
            });
        }),
    ] {
        let between = root.below("between", change);
        let own = between.server(&[HOST], &as_is);
        cases.add(name, &[&own, &between.der], &[root]);
    }
    let between = &root.below("between", &as_is);
    let lower = &between.below("lower", &as_is);
    let own = &lower.server(&[HOST], &as_is);
    let both = &[&own[..], &lower.der, &between.der];
    cases.add("two between", both, &[root]);
    cases.add(
        "two in the other order",
        &[own, &between.der, &lower.der],
        &[root],
    );
    cases.add(
        "one of them twice",
        &[own, &lower.der, &lower.der, &between.der],
        &[root],
    );
    cases.add(
        "the root comes along",
        &[own, &lower.der, &between.der, &root.der],
        &[root],
    );
    cases.add("one is missing", &[own, &between.der], &[root]);
    cases.add("one of them is trusted", &[own, &lower.der], &[between]);
    cases.add(
        "one is forged",
        &[own, &lower.der, &forged(&between.der)],
        &[root],
    );
    cases.add(
        "the server's own is not the first",
        &[&lower.der, own, &between.der],
        &[root],
    );

    let narrow = &root.below("narrow", &no_path);
    let lower = &narrow.below("lower", &as_is);
    let own = &lower.server(&[HOST], &as_is);
    cases.add("a path too long", &[own, &lower.der, &narrow.der], &[root]);
    let short = &Party::authority("root", &no_path);
    let lower = &short.below("lower", &as_is);
    let own = &lower.server(&[HOST], &as_is);
    cases.add("too long for the root", &[own, &lower.der], &[short]);
}

fn of_roots(cases: &mut Cases) {
    for (name, change) in [
        ("a root that has run out", &until_2020 as Change<'_>),
        ("a root that is not valid yet", &from_2040),
        ("a root that says it is none", &no_authority),
        ("a root whose key signs no certificates", &no_signatures),
        ("a root for clients", &for_clients),
        ("a root for such names", &names_below(true, "example")),
        ("a root for other names", &names_below(true, "other")),
    ] {
        let root = Party::authority("root", change);
        cases.add(name, &[&root.server(&[HOST], &as_is)], &[&root]);
    }
}

fn of_several_ways(cases: &mut Cases) {
    let (one, two) = (
        &Party::authority("one", &as_is),
        &Party::authority("two", &as_is),
    );
    let by_one = &one.below("between", &as_is);
    let own = &by_one.server(&[HOST], &as_is);
    let by_two = &two.certify(&by_one.params, &by_one.key);
    cases.add("the first of two ways", &[own, &by_one.der, by_two], &[one]);
    cases.add(
        "the second of two ways",
        &[own, &by_one.der, by_two],
        &[two],
    );
    cases.add(
        "no way of two",
        &[own, &by_one.der, by_two],
        &[&Party::authority("three", &as_is)],
    );
    // Each certifies the other: a circle.
    let there = &one.certify(&two.params, &two.key);
    let back = &two.certify(&one.params, &one.key);
    let own = &two.server(&[HOST], &as_is);
    cases.add(
        "a circle",
        &[own, there, back],
        &[&Party::authority("three", &as_is)],
    );
    cases.add("out of a circle", &[own, there, back], &[one]);
    let many: Vec<Party> = (0..5).map(|_| one.below("between", &as_is)).collect();
    let own = many[4].server(&[HOST], &as_is);
    let chain: Vec<&[u8]> = core::iter::once(&own[..])
        .chain(many.iter().map(|party| &party.der[..]))
        .collect();
    cases.add(
        "four of the same name",
        &[&chain[..1], &chain[2..]].concat(),
        &[one],
    );
    cases.add("five of the same name", &chain, &[one]);
}

/// What is meant to differ: whether it is taken here, and why.
const DIFFERENCES: &[(&str, bool, &str)] = &[
    (
        "its key signs nothing",
        false,
        "webpki looks at no key usage (RFC 5280, 4.2.1.3)",
    ),
    ("its key signs no certificates", false, "the same"),
    (
        "a root whose key signs no certificates",
        false,
        "the same, of a root",
    ),
    (
        "a key of another curve",
        false,
        "there is no code for it; webpki leaves it to who verifies the handshake",
    ),
    (
        "stands for itself, and is trusted",
        false,
        "what is in `ca` is an authority, or it stands for nobody",
    ),
    ("a root that says it is none", false, "the same"),
    (
        "a root for clients",
        false,
        "webpki takes of a root its name, key and constraints alone",
    ),
    ("too long for the root", false, "the same"),
    (
        "it stands for such names",
        false,
        "constraints of names are refused, not understood",
    ),
    ("it does not stand for some addresses", false, "the same"),
    ("a root for such names", false, "the same"),
    (
        "five of the same name",
        false,
        "memory bounds what a server may send",
    ),
];

#[test]
fn certificates_are_judged_as_by_webpki_but_for_differences_that_are_meant() {
    let mut cases = Cases::default();
    of_the_servers_own(&mut cases);
    of_names(&mut cases);
    of_authorities_between(&mut cases);
    of_roots(&mut cases);
    of_several_ways(&mut cases);
    let mut wrong = Vec::new();
    let (mut taken, mut met) = (0, Vec::new());
    for case in &cases.0 {
        let ours = ours(&case.chain, &case.anchors, case.host);
        let theirs = theirs(&case.chain, &case.anchors, case.host);
        let meant = DIFFERENCES.iter().find(|(name, ..)| *name == case.name);
        met.extend(meant.map(|(name, ..)| *name));
        let expected = meant.map_or(theirs.is_ok(), |(_, taken, _)| *taken);
        let differs = ours.is_ok() != theirs.is_ok();
        if ours.is_ok() != expected || differs != meant.is_some() {
            wrong.push(format!("{}: here {ours:?}, webpki {theirs:?}", case.name));
        }
        taken += usize::from(ours.is_ok());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(met.len(), DIFFERENCES.len(), "{met:?}");
    assert!(taken >= 20 && cases.0.len() - taken >= 30, "{taken}");
}

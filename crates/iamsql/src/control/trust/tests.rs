use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server certificate in the making; as it is, the right one for `p:orders`.
struct Leaf {
    common_names: Vec<&'static str>,
    dns_names: Vec<&'static str>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    usages: Vec<KeyUsagePurpose>,
    ca: bool,
}

impl Authority {
    fn new(ca: bool) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&["Server CA"]);
        params.is_ca = match ca {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, leaf: &Leaf) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&leaf.common_names);
        params.subject_alt_names = leaf
            .dns_names
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()))
            .collect();
        params.extended_key_usages = leaf.purposes.clone();
        params.key_usages = leaf.usages.clone();
        params.not_before = from_now(-3600);
        params.not_after = from_now(3600);
        if leaf.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap()
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Leaf {
            common_names: vec!["p:orders"],
            dns_names: Vec::new(),
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            usages: Vec::new(),
            ca: false,
        }
    }
}

fn name(common_names: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (index, common_name) in common_names.iter().enumerate() {
        // rcgen keeps one attribute per type, so a second common name goes by its number.
        let kind = match index {
            0 => DnType::CommonName,
            _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
        };
        name.push(kind, *common_name);
    }
    name
}

fn from_now(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds)
}

fn settings(server_ca: &str, ca_mode: CaMode, dns_names: &[&str]) -> Settings {
    Settings {
        addresses: Vec::new(),
        database_version: "POSTGRES_17".to_owned(),
        server_ca: server_ca.to_owned(),
        ca_mode,
        dns_names: dns_names.iter().map(|name| (*name).to_owned()).collect(),
        asks_client_protocol: false,
    }
}

fn trust(settings: &Settings) -> Result<ServerTrust> {
    ServerTrust::new(&"p:europe-west4:orders".parse().unwrap(), settings)
}

fn verify_at(settings: &Settings, leaf: &rcgen::Certificate, now: UnixTime) -> Result<()> {
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let verifier = ServerVerifier::new(trust(settings)?, algorithms);
    let dialled = ServerName::try_from("203.0.113.9").unwrap();
    verifier
        .verify_server_cert(leaf.der(), &[], &dialled, &[], now)
        .map(drop)
        .map_err(|error| tls_error(&error))
}

fn verify(settings: &Settings, leaf: &rcgen::Certificate) -> Result<()> {
    verify_at(settings, leaf, UnixTime::now())
}

#[test]
fn names_decide_by_authority_mode() {
    let authority = Authority::new(true);
    let leaf = |common_names: &[&'static str], dns_names: &[&'static str]| {
        authority.sign(&Leaf {
            common_names: common_names.to_vec(),
            dns_names: dns_names.to_vec(),
            ..Leaf::default()
        })
    };
    let by_cn = leaf(&["p:orders"], &[]);
    let by_san = leaf(&["whatever"], &["A.b.sql.goog"]);
    let dotted_san = leaf(&[], &["a.b.sql.goog."]);
    let wildcard = leaf(&[], &["*.b.sql.goog"]);
    let wrong_san = leaf(&["p:other"], &["x.b.sql.goog"]);
    let wrong_san_right_cn = leaf(&["p:orders"], &["x.b.sql.goog"]);
    let two_cns = leaf(&["p:orders", "q:other"], &[]);
    let (_, parsed) = X509Certificate::from_der(two_cns.der()).unwrap();
    assert_eq!(parsed.subject().iter_common_name().count(), 2);
    let dotted_cn = leaf(&["p:orders."], &[]);
    let upper_cn = leaf(&["P:orders"], &[]);
    let nameless = leaf(&[], &[]);
    for (what, leaf, google, other) in [
        ("cn", &by_cn, true, false),
        ("san", &by_san, true, true),
        ("dotted san", &dotted_san, true, true),
        ("wildcard", &wildcard, false, false),
        ("wrong san", &wrong_san, false, false),
        ("wrong san, right cn", &wrong_san_right_cn, true, false),
        ("two cns", &two_cns, false, false),
        ("dotted cn", &dotted_cn, false, false),
        ("upper-case cn", &upper_cn, false, false),
        ("nameless", &nameless, false, false),
    ] {
        for (mode, want) in [(CaMode::Google, google), (CaMode::Other, other)] {
            let settings = settings(&authority.pem, mode, &["a.b.sql.goog."]);
            assert_eq!(
                verify(&settings, leaf).is_ok(),
                want,
                "{what} under {mode:?}"
            );
        }
    }
}

#[test]
fn a_wrong_server_is_named_beside_the_right_one() {
    let authority = Authority::new(true);
    let leaf = authority.sign(&Leaf {
        common_names: vec!["other:orders"],
        ..Leaf::default()
    });
    let error = verify(&settings(&authority.pem, CaMode::Google, &[]), &leaf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert_eq!(
        error.to_string(),
        "server presented \"other:orders\", expected \"p:orders\""
    );
    assert_eq!(
        error.detail(),
        Some(&Detail::WrongServer {
            presented: "other:orders".to_owned(),
            expected: "p:orders".to_owned()
        })
    );
}

#[test]
fn a_customers_authority_without_a_dns_name_identifies_nobody() {
    let authority = Authority::new(true);
    let leaf = authority.sign(&Leaf::default());
    assert!(verify(&settings(&authority.pem, CaMode::Other, &[]), &leaf).is_err());
}

#[test]
fn only_certificate_authorities_of_this_instance_vouch() {
    let (ours, other, no_ca) = (
        Authority::new(true),
        Authority::new(true),
        Authority::new(false),
    );
    let leaf = ours.sign(&Leaf::default());
    let check = |pem: &str| verify(&settings(pem, CaMode::Google, &[]), &leaf);
    assert!(check(&ours.pem).is_ok());
    assert!(check(&format!("{}{}", other.pem, ours.pem)).is_ok());
    let unsigned = check(&other.pem).unwrap_err();
    assert!(
        unsigned
            .to_string()
            .ends_with("none of the instance's server CAs signed"),
        "{unsigned}"
    );
    let signed_by_no_ca = no_ca.sign(&Leaf::default());
    assert!(verify(&settings(&no_ca.pem, CaMode::Google, &[]), &signed_by_no_ca).is_err());
}

#[test]
fn purpose_and_dates_are_checked_with_and_without_a_pin() {
    let authority = Authority::new(true);
    let good = authority.sign(&Leaf::default());
    let client_only = authority.sign(&Leaf {
        purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..Leaf::default()
    });
    let not_for_signing = authority.sign(&Leaf {
        usages: vec![KeyUsagePurpose::KeyAgreement],
        ..Leaf::default()
    });
    let itself_a_ca = authority.sign(&Leaf {
        ca: true,
        ..Leaf::default()
    });
    let hours = |hours: i64| {
        let now = UnixTime::now().as_secs() as i64 + hours * 3600;
        UnixTime::since_unix_epoch(Duration::from_secs(now as u64))
    };
    for pinned in [false, true] {
        for (what, leaf, at, want) in [
            ("good", &good, 0, true),
            ("expired", &good, 2, false),
            ("not yet valid", &good, -2, false),
            ("for clients only", &client_only, 0, false),
            ("not for signing", &not_for_signing, 0, false),
            ("a CA", &itself_a_ca, 0, false),
        ] {
            let pem = match pinned {
                true => leaf.pem(),
                false => authority.pem.clone(),
            };
            let settings = settings(&pem, CaMode::Google, &[]);
            let verdict = verify_at(&settings, leaf, hours(at));
            assert_eq!(
                verdict.is_ok(),
                want,
                "{what}, pinned: {pinned}: {verdict:?}"
            );
        }
    }
}

#[test]
fn a_pin_is_good_for_itself_only_and_does_not_excuse_a_wrong_name() {
    let authority = Authority::new(true);
    let pinned = authority.sign(&Leaf::default());
    let twin = authority.sign(&Leaf::default());
    let misnamed = authority.sign(&Leaf {
        common_names: vec!["p:other"],
        ..Leaf::default()
    });
    let check = |pem: String, leaf| verify(&settings(&pem, CaMode::Google, &[]), leaf);
    assert!(check(pinned.pem(), &pinned).is_ok());
    assert!(check(pinned.pem(), &twin).is_err());
    assert!(check(misnamed.pem(), &misnamed).is_err());
}

#[test]
fn too_many_too_large_or_unreadable_authorities_are_refused() {
    let authority = Authority::new(true);
    let check = |pem: &str| trust(&settings(pem, CaMode::Google, &[])).map(drop);
    assert!(check(&authority.pem.repeat(16)).is_ok());
    for (what, pem) in [
        ("17", authority.pem.repeat(17)),
        ("large", " ".repeat(65 << 10)),
        ("none", "no certificate here".to_owned()),
        (
            "broken",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ),
    ] {
        let error = check(&pem).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{what}");
        assert!(error.advice().unwrap().contains("rotate"), "{what}");
    }
}

#[test]
fn an_outdated_certificate_says_to_rotate_the_authority() {
    let version_one = pem_of(VERSION_ONE);
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let settings = settings(&Authority::new(true).pem, CaMode::Google, &[]);
    let verifier = ServerVerifier::new(trust(&settings).unwrap(), algorithms);
    let dialled = ServerName::try_from("203.0.113.9").unwrap();
    let error = verifier
        .verify_server_cert(&version_one, &[], &dialled, &[], UnixTime::now())
        .unwrap_err();
    assert!(
        tls_error(&error)
            .to_string()
            .contains("rotate the instance's server CA")
    );
}

fn pem_of(text: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

/// Made with OpenSSL; X.509 version 1, as in CAs of 2017.
const VERSION_ONE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBIDCBxwIURFZveIs3XoVhrWqVdNppXXWBxdwwCgYIKoZIzj0EAwIwEzERMA8G
A1UEAwwIcDpvcmRlcnMwHhcNMjYxMTIyMTUzNDMxWhcNMzYxMTE5MTUzNDMxWjAT
MREwDwYDVQQDDAhwOm9yZGVyczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMx3
96b608N+Y/pfxqvOmBXiga4XZLYBabwnQIWkTiMJnAV6uHw8lDPr3nlu3hqnBpvY
TIQZTdzBEdcgOwWDQfowCgYIKoZIzj0EAwIDSAAwRQIgL+6Y01FHMAZWJk4ETJHC
AQSfpipmmf6ULKuqJy7VGtgCIQCjlJ8KbxkVZyLgjPvI4b1buPKhTQWNC+EYEly/
MYQ2FA==
-----END CERTIFICATE-----";

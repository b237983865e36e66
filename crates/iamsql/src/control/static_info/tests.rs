use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::control::target::Address;
use crate::error::ErrorKind;
use crate::options::IpType;

const URI: &str = "projects/p/locations/r/clusters/c/instances/i";

fn whole(life: i64) -> Value {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(life);
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    json!({
        "publicKey": key.public_key_pem(),
        "privateKey": key.serialize_pem(),
        URI: {
            "ipAddress": "10.0.0.5",
            "pscInstanceConfig": {"pscDnsName": "x.alloydb-psc.goog."},
            "pemCertificateChain": [leaf, authority_pem.clone()],
            "caCert": authority_pem,
        },
    })
}

fn read(info: &Value) -> Result<StaticInfo> {
    StaticInfo::read(&Secret::new(info.to_string()))
}

fn target(info: &StaticInfo, uri: &str) -> Result<Target> {
    info.target(&uri.parse().unwrap(), SystemTime::now(), 7)
}

#[test]
fn what_it_names_can_be_dialled() {
    let info = read(&whole(3600)).unwrap();
    let target = target(&info, URI).unwrap();
    assert_eq!(
        target.addresses,
        [
            (IpType::Private, Address::Ip("10.0.0.5".parse().unwrap())),
            (IpType::Psc, Address::Name("x.alloydb-psc.goog".to_owned())),
        ]
    );
    assert_eq!((target.port, target.generation), (5433, 7));
    let life = target.expires.duration_since(SystemTime::now()).unwrap();
    assert!(life > Duration::from_secs(3500), "{life:?}");
}

#[test]
fn what_it_does_not_name_or_has_expired_is_a_config_error() {
    let info = read(&whole(3600)).unwrap();
    let other = target(&info, &URI.replace("instances/i", "instances/j")).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Config);
    let expired = target(&read(&whole(-1)).unwrap(), URI).unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::Config);
    assert!(expired.to_string().contains("expired"), "{expired}");
}

#[test]
fn what_is_missing_wrong_or_too_much_is_refused_when_it_is_read() {
    let change = |change: &dyn Fn(&mut Value)| {
        let mut info = whole(3600);
        change(&mut info);
        read(&info).map(drop).unwrap_err()
    };
    for error in [
        change(&|info| info["privateKey"] = json!("no key")),
        change(&|info| drop(info.as_object_mut().unwrap().remove("privateKey"))),
        change(&|info| drop(info.as_object_mut().unwrap().remove(URI))),
        change(&|info| info["p:r:i"] = info[URI].clone()),
        change(&|info| info["something"] = json!({})),
        change(&|info| info[URI]["caCert"] = json!("")),
        change(&|info| info[URI]["pemCertificateChain"] = json!([])),
        change(&|info| info[URI]["pemCertificateChain"] = json!(["x"])),
        change(&|info| {
            info[URI]["ipAddress"] = json!("");
            info[URI]["pscInstanceConfig"] = json!({});
        }),
        StaticInfo::read(&Secret::new("not json"))
            .map(drop)
            .unwrap_err(),
        StaticInfo::read(&Secret::new(" ".repeat(MAX_BYTES + 1)))
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(!error.chain().contains("PRIVATE"), "{error:?}");
    }
}

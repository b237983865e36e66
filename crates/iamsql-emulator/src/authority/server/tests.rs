use x509_parser::prelude::*;

use super::*;

#[test]
fn each_wrong_certificate_is_wrong_in_its_own_way() {
    let authority =
        Arc::new(Authority::new("Google Cloud SQL Server CA", KeyKind::EcdsaP256).unwrap());
    let key = super::super::generate_key(KeyKind::EcdsaP256).unwrap();
    let dns = ["a1.b2.us-central1.sql.goog.".to_string()];
    let names = ServerNames {
        addresses: &[],
        common_name: "p:i",
        dns_names: &dns,
    };
    let issue = |wanted, pinned| {
        issue_server(&authority, CaMode::Cas, wanted, pinned, &names, &key).unwrap()
    };
    let read = |trust: &ServerTrust| describe(&trust.key.cert[0]);

    let genuine = read(&issue(ServerCertificate::Genuine, false));
    assert_eq!(genuine.common_names, ["p:i"]);
    assert_eq!(genuine.dns_names, ["a1.b2.us-central1.sql.goog."]);
    assert!(genuine.valid && genuine.server && !genuine.client);

    assert_eq!(
        read(&issue(ServerCertificate::Wildcard, false)).dns_names,
        ["*.b2.us-central1.sql.goog."]
    );
    assert_eq!(
        read(&issue(ServerCertificate::OtherSpelling, false)).dns_names,
        ["A1.B2.US-CENTRAL1.SQL.GOOG"]
    );
    assert_eq!(
        read(&issue(ServerCertificate::DottedCommonName, false)).common_names,
        ["p:i."]
    );
    assert_eq!(
        read(&issue(ServerCertificate::TwoCommonNames, false)).common_names,
        [OTHER_INSTANCE, "p:i"]
    );
    assert_eq!(
        read(&issue(ServerCertificate::WrongName, false)).common_names,
        [OTHER_INSTANCE]
    );
    assert!(!read(&issue(ServerCertificate::Expired, false)).valid);
    assert!(!read(&issue(ServerCertificate::NotYetValid, false)).valid);
    let client_only = read(&issue(ServerCertificate::ClientAuthOnly, false));
    assert!(client_only.client && !client_only.server);

    let not_ca = issue(ServerCertificate::SignerNotCa, false);
    assert!(!parse(&not_ca.authority.certificate).is_ca());
    assert!(
        parse(&not_ca.key.cert[0])
            .verify_signature(Some(parse(&not_ca.authority.certificate).public_key()))
            .is_ok()
    );
    let foreign = issue(ServerCertificate::ForeignCa, false);
    assert!(
        parse(&foreign.key.cert[0])
            .verify_signature(Some(parse(&authority.certificate).public_key()))
            .is_err()
    );
    assert_ne!(issue(ServerCertificate::Genuine, true).pem, authority.pem);
}

struct Description {
    common_names: Vec<String>,
    dns_names: Vec<String>,
    valid: bool,
    server: bool,
    client: bool,
}

fn describe(der: &CertificateDer<'_>) -> Description {
    let certificate = parse(der);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    let names = certificate.subject_alternative_name().unwrap();
    Description {
        common_names: certificate
            .subject()
            .iter_common_name()
            .map(|name| name.as_str().unwrap().to_string())
            .collect(),
        dns_names: names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .map(|name| match name {
                GeneralName::DNSName(name) => name.to_string(),
                other => panic!("{other:?}"),
            })
            .collect(),
        valid: certificate.validity().is_valid(),
        server: usage.server_auth,
        client: usage.client_auth,
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    parse_x509_certificate(der).unwrap().1
}

use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// What google-auth for Python signs, given the same.
#[test]
fn a_request_is_signed_as_googles_library_signs_it() {
    const AUDIENCE: &str =
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws";
    let url = Url::parse(
        "https://sts.eu-west-3.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    )
    .unwrap();
    // 2026-11-05 12:30:45.
    let now = UNIX_EPOCH + Duration::from_secs(1_793_881_845);
    for (session, names, signature) in [
        (
            None,
            "host;x-amz-date;x-goog-cloud-target-resource",
            "406c3cecb5014b26d28160627c9cc01fc93dd661c1c2001389b52cc8015a2878",
        ),
        (
            Some("session+token/value=="),
            "host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource",
            "59d83138a1829a61167257095655cb560306123782cb7938daebb0933c63ab65",
        ),
    ] {
        let key = AwsKey {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session: session.map(Secret::new),
        };
        let signed = sign(&url, "eu-west-3", &key, AUDIENCE, now);
        let header = |name: &str| {
            let found = signed.headers.iter().find(|(its, _)| *its == name);
            found.map(|(_, value)| value.to_string())
        };
        assert_eq!(
            header("Authorization").unwrap(),
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261105/eu-west-3/sts/aws4_request, SignedHeaders={names}, Signature={signature}"
            )
        );
        assert_eq!(header("x-amz-date").unwrap(), "20261105T123045Z");
        assert_eq!(header("host").unwrap(), "sts.eu-west-3.amazonaws.com");
        assert_eq!(header("x-amz-security-token").as_deref(), session);
        assert_eq!(header("x-goog-cloud-target-resource").unwrap(), AUDIENCE);
    }
}

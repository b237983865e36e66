use proptest::prelude::*;

use super::*;

const VERSION_3: u32 = 3 << 16;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = (8 + rest.len()) as u32;
    [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

fn startup(text: &str) -> Result<Opening, Malformed> {
    parse(&packet(VERSION_3, text.as_bytes()))
}

#[test]
fn requests_are_told_apart() {
    let cancel = packet(CANCEL_REQUEST, &[7; 8]);
    let long_cancel = packet(CANCEL_REQUEST, &[7; 36]);
    let cases = [
        (packet(TLS_REQUEST, b""), Ok(Opening::Tls)),
        (packet(GSS_REQUEST, b""), Ok(Opening::Gss)),
        (cancel.clone(), Ok(Opening::Cancel(cancel))),
        (long_cancel.clone(), Ok(Opening::Cancel(long_cancel))),
        (
            packet(CANCEL_REQUEST, &[7; 7]),
            Err(Malformed::Version(CANCEL_REQUEST)),
        ),
        (
            packet(CANCEL_REQUEST, &[7; 261]),
            Err(Malformed::Version(CANCEL_REQUEST)),
        ),
        (
            packet(TLS_REQUEST, b"x"),
            Err(Malformed::Version(TLS_REQUEST)),
        ),
        (packet(2 << 16, b""), Err(Malformed::Version(2 << 16))),
        (b"GET / HTTP/1.1\r\n".to_vec(), Err(Malformed::Frame)),
        (vec![0x16, 3, 1, 0], Err(Malformed::Frame)),
        (Vec::new(), Err(Malformed::Frame)),
        (
            packet(TLS_REQUEST, b"")[..7].to_vec(),
            Err(Malformed::Frame),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(parse(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn names_are_read_as_postgresql_will_read_them() {
    let long = "u".repeat(LONGEST_NAME + 1);
    let longest = &long[1..];
    let cases = [
        ("user\0alice\0\0", Ok(("alice", "alice"))),
        ("database\0mydb\0user\0alice\0\0", Ok(("alice", "mydb"))),
        ("user\0alice\0database\0\0\0", Ok(("alice", "alice"))),
        ("options\0-c a=b\0user\0a\0\0", Ok(("a", "a"))),
        (&format!("user\0{longest}\0\0"), Ok((longest, longest))),
        (&format!("user\0{long}\0\0"), Err(Malformed::LongName)),
        (
            &format!("user\0a\0database\0{long}\0\0"),
            Err(Malformed::LongName),
        ),
        ("user\0alice\0user\0bob\0\0", Err(Malformed::Parameters)),
        (
            "user\0alice\0database\0a\0database\0a\0\0",
            Err(Malformed::Parameters),
        ),
        ("user\0alice\0", Err(Malformed::Parameters)),
        ("user\0alice", Err(Malformed::Parameters)),
        ("user\0alice\0\0trailing\0", Err(Malformed::Parameters)),
        ("", Err(Malformed::Parameters)),
        ("\0", Err(Malformed::NoUser)),
        ("user\0\0\0", Err(Malformed::NoUser)),
        ("database\0mydb\0\0", Err(Malformed::NoUser)),
    ];
    for (text, expected) in cases {
        let opening = startup(text);
        let names = match &opening {
            Ok(Opening::Startup(startup)) => Ok((startup.user(), startup.database())),
            Ok(other) => panic!("{other:?}"),
            Err(malformed) => Err(*malformed),
        };
        assert_eq!(names, expected, "{text:?}");
    }
    assert_eq!(
        parse(&packet(VERSION_3, b"user\0\xff\0\0")),
        Err(Malformed::Parameters)
    );
}

#[test]
fn what_is_sent_on_is_what_was_understood() {
    let text = "application_name\0x\0user\0alice\0_pq_.command_tag_format\0fqn\0database\0mydb\0\0";
    for version in [VERSION_3, VERSION_3 | 2] {
        let Ok(Opening::Startup(startup)) = parse(&packet(version, text.as_bytes())) else {
            panic!("a startup packet")
        };
        let again = startup.encode();
        assert_eq!(again.len(), 8 + text.len());
        assert_eq!(parse(&again), Ok(Opening::Startup(startup)));
    }
}

#[tokio::test]
async fn no_byte_is_read_beyond_the_packet_nor_memory_taken_for_a_lie() {
    let mut bytes = packet(TLS_REQUEST, b"");
    bytes.extend(b"next");
    let mut stream = &bytes[..];
    assert_eq!(
        read_packet(&mut stream).await.unwrap(),
        Some(packet(TLS_REQUEST, b""))
    );
    assert_eq!(stream, b"next");

    for length in [0, 7, 10_001, u32::MAX] {
        let bytes = length.to_be_bytes();
        assert_eq!(
            read_packet(&mut &bytes[..]).await.unwrap(),
            None,
            "{length}"
        );
    }
    assert_eq!(read_packet(&mut &b"\0\0"[..]).await.unwrap(), None);
    assert!(read_packet(&mut &b"\0\0\0\x08\0"[..]).await.is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse(&packet(VERSION_3, &bytes));
    }

    #[test]
    fn plausible_packets_survive_a_round_trip(
        texts in prop::collection::vec(prop::sample::select(vec!["user", "database", "options", "a", "", "ü"]), 0..12),
    ) {
        let rest: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).chain([0]).collect();
        if let Ok(Opening::Startup(startup)) = parse(&packet(VERSION_3, &rest)) {
            prop_assert!(!startup.user().is_empty());
            prop_assert_eq!(parse(&startup.encode()), Ok(Opening::Startup(startup)));
        }
    }
}

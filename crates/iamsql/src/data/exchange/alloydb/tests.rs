use super::*;
use crate::secret::Secret;

#[test]
fn a_request_is_its_length_and_three_fields() {
    let token = Token::new(Secret::new("login-token"));
    for (mode, kind) in [(AuthMode::Password, 1), (AuthMode::Iam, 2)] {
        let frame = request(mode, "iamsql/1", &token);
        let mut wanted = vec![0, 0, 0, 25, 0x0a, 8];
        wanted.extend(b"iamsql/1");
        wanted.extend([0x10, kind, 0x1a, 11]);
        wanted.extend(b"login-token");
        assert_eq!(*frame, wanted);
    }
}

#[test]
fn a_long_token_fits() {
    let token = Token::new(Secret::new("t".repeat(3_000)));
    let frame = request(AuthMode::Iam, "a", &token);
    assert_eq!(frame[..4], (frame.len() as u32 - 4).to_be_bytes());
    assert_eq!(frame.len(), 4 + 3 + 2 + 1 + 2 + 3_000);
}

#[test]
fn an_answer_is_read_with_what_is_unknown_passed_over() {
    let read = |bytes: &[u8]| Answer::read(bytes).map(|answer| (answer.code, answer.error));
    let none = String::new;
    assert_eq!(read(&[0x08, 1]), Some((1, none())));
    assert_eq!(
        read(&[0x08, 2, 0x12, 2, b'n', b'o']),
        Some((2, "no".to_owned()))
    );
    assert_eq!(read(&[0x18, 7, 0x08, 1]), Some((1, none())));
    assert_eq!(read(&[]), Some((0, none())), "which is not OK");
    for broken in [&[0x08][..], &[0x12, 9, b'x'], &[0x0a, 1, 1], &[0xff; 4]] {
        assert_eq!(read(broken), None, "{broken:?}");
    }
}

#[test]
fn a_refusal_without_a_reason_says_so() {
    let answer = Answer::default();
    let error = answer.into_error(AuthMode::Iam);
    assert_eq!(error.kind(), ErrorKind::Handshake);
    assert!(error.to_string().ends_with("without a reason"), "{error}");
}

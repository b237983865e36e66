//! Makes text from outside safe to print: short, on one line, and unable to steer a terminal or forge a log line.

/// At most 200 bytes of `text`, with control, bidirectional and line-separating characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let piece = if must_escape(c) {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        };
        if out.len() + piece.len() > LONGEST {
            out.push('…');
            break;
        }
        out.push_str(&piece);
    }
    out
}

fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{061c}' | '\u{feff}')
}

const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_reader() {
        let cases = [
            ("  plain text\n", "plain text"),
            ("a\nb\x1b[31m", "a\\u{a}b\\u{1b}[31m"),
            ("evil\u{202e}txt\u{2028}log", "evil\\u{202e}txt\\u{2028}log"),
            ("Grüße", "Grüße"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert!(printable(&"ü\n".repeat(500)).len() <= LONGEST + '…'.len_utf8());
    }
}

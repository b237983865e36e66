//! SQL in pieces.

use std::fmt;

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lexeme {
    Word(String),
    /// A name in brackets or double quotes.
    Name(String),
    /// `@name` or `@@name`.
    Variable(String),
    Number(String),
    Text(String),
    Symbol(char),
}

/// Cuts a text; the error is the place where that fails.
pub(super) fn lexemes(text: &str) -> Result<Vec<Lexeme>, String> {
    let mut rest = text;
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Ok(found);
        };
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or("/*")?;
            rest = after;
        } else if let Some(text) = rest
            .strip_prefix(['n', 'N'])
            .filter(|rest| rest.starts_with('\''))
        {
            found.push(Lexeme::Text(quoted(text, '\'', &mut rest)?));
        } else if first == '\'' {
            found.push(Lexeme::Text(quoted(rest, '\'', &mut rest)?));
        } else if first == '"' {
            found.push(Lexeme::Name(quoted(rest, '"', &mut rest)?));
        } else if first == '[' {
            found.push(Lexeme::Name(quoted(rest, ']', &mut rest)?));
        } else {
            let within = |c: char| c.is_alphanumeric() || "_@#$".contains(c);
            let numeric = first.is_ascii_digit();
            let end = rest
                .find(|c: char| {
                    if numeric {
                        !c.is_ascii_digit() && c != '.'
                    } else {
                        !within(c)
                    }
                })
                .unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end.max(first.len_utf8()));
            rest = after;
            found.push(match first {
                _ if numeric => Lexeme::Number(piece.to_string()),
                '@' => Lexeme::Variable(piece.to_string()),
                _ if within(first) => Lexeme::Word(piece.to_string()),
                _ => Lexeme::Symbol(first),
            });
        }
    }
}

/// What stands between quotes, which are doubled inside; `rest` is what follows.
fn quoted<'a>(text: &'a str, end: char, rest: &mut &'a str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != end {
            out.push(c);
        } else if chars.next_if(|(_, next)| *next == end).is_some() {
            out.push(end);
        } else {
            *rest = &text[at + end.len_utf8()..];
            return Ok(out);
        }
    }
    Err(text.chars().take(20).collect())
}

impl fmt::Display for Lexeme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lexeme::Symbol(c) => write!(f, "{c}"),
            Lexeme::Word(text)
            | Lexeme::Name(text)
            | Lexeme::Variable(text)
            | Lexeme::Number(text)
            | Lexeme::Text(text) => f.write_str(text),
        }
    }
}

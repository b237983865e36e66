//! Values that must never be seen: they print `[redacted]`, are wiped on drop, and are struck out of foreign text.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use zeroize::Zeroizing;

use crate::control::process::PerProcess;

/// A token, key or JSON credential.
///
/// Prints `[redacted]`, has no `Serialize`, and its memory is overwritten when the last clone goes.
#[derive(Clone)]
pub struct Secret(Arc<Value>);

struct Value {
    text: Zeroizing<String>,
    /// The process in which foreign text is searched for it.
    listed_in: AtomicU32,
}

impl Secret {
    /// Takes the value in. While any clone lives, text that comes from outside is searched for it before it is shown.
    pub fn new(value: impl Into<String>) -> Self {
        let secret = Secret(Arc::new(Value {
            text: Zeroizing::new(value.into()),
            listed_in: AtomicU32::new(0),
        }));
        secret.list();
        secret
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        // A forked child starts with an empty list, and whatever it is about to send belongs there.
        self.list();
        &self.0.text
    }

    fn list(&self) {
        let process = std::process::id();
        if self.0.listed_in.swap(process, Ordering::Relaxed) != process {
            let mut live = live();
            live.retain(|other| other.strong_count() > 0);
            live.push(Arc::downgrade(&self.0));
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Secret::new(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Secret::new(value)
    }
}

/// Makes text that somebody else wrote fit to show: live secrets struck out, at most 200 bytes, one line.
///
/// Every API message, certificate name, database error or DNS record passes here before an error, log or label holds it.
pub fn foreign(text: &str) -> String {
    let struck = strike(text);
    let mut shown = String::with_capacity(struck.len().min(MAX_SHOWN));
    for character in struck.chars() {
        let escaped = is_unprintable(character);
        let length = if escaped {
            character.escape_unicode().count()
        } else {
            character.len_utf8()
        };
        if shown.len() + length > MAX_SHOWN - ELLIPSIS.len() {
            shown.push_str(ELLIPSIS);
            break;
        }
        match escaped {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

fn strike(text: &str) -> String {
    let live: Vec<_> = live().iter().filter_map(Weak::upgrade).collect();
    let mut struck = text.to_owned();
    for secret in live.iter().filter(|secret| secret.text.len() >= MIN_STRUCK) {
        if struck.contains(secret.text.as_str()) {
            struck = struck.replace(secret.text.as_str(), REDACTED);
        }
    }
    struck
}

fn live() -> MutexGuard<'static, Vec<Weak<Value>>> {
    LIVE.get_or_make(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Control characters, and those that reorder or break lines when shown.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const REDACTED: &str = "[redacted]";
const ELLIPSIS: &str = "…";
const MAX_SHOWN: usize = 200;
/// Shorter values (an empty or toy token) would strike out ordinary words.
const MIN_STRUCK: usize = 8;

// Per process, because the parent may hold the lock while it forks.
static LIVE: PerProcess<Mutex<Vec<Weak<Value>>>> = PerProcess::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_redacted() {
        assert_eq!(format!("{:?}", Secret::new("ya29.abcdefgh")), "[redacted]");
    }

    #[test]
    fn foreign_text_loses_live_secrets_and_control_characters() {
        let token = Secret::new("ya29.the-login-token");
        assert_eq!(
            foreign("bad token ya29.the-login-token\n2026 INFO forged\u{202e}"),
            "bad token [redacted]\\u{a}2026 INFO forged\\u{202e}"
        );
        drop(token);
    }

    #[test]
    fn foreign_text_is_cut_at_200_bytes() {
        let shown = foreign(&"é".repeat(500));
        assert!(
            shown.len() <= 200 && shown.ends_with('…'),
            "{} bytes",
            shown.len()
        );
        assert_eq!(foreign(&"\n".repeat(500)).len(), 197 / 5 * 5 + 3);
    }
}

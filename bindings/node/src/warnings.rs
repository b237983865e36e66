//! The engine's warnings, handed to Node: it has no log of its own here, and they say what no error does.

use std::fmt::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Adds `hear` to those who may be told; the first that is still there is.
pub(crate) fn tell(hear: Function<'_, String, ()>) -> napi::Result<()> {
    let hear = hear
        .build_threadsafe_function::<String>()
        .weak::<true>()
        .max_queue_size::<MAX_QUEUED>()
        .build()?;
    lock().push(hear);
    START.call_once(|| {
        // Nobody else sets one: this addon has a copy of tracing to itself.
        let _ = tracing::subscriber::set_global_default(ToNode);
    });
    Ok(())
}

struct ToNode;

impl Subscriber for ToNode {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::WARN
            && metadata.target().split("::").next() == Some("iamsql")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = line.message + &line.fields;
        let mut heard = false;
        lock().retain(|hear| {
            heard || {
                heard = hear.call(text.clone(), MODE) != Status::Closing;
                heard
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message, then the fields as ` name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Hear>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

type Hear = ThreadsafeFunction<String, (), String, Status, false, true, MAX_QUEUED>;

static START: Once = Once::new();
static LISTENERS: Mutex<Vec<Hear>> = Mutex::new(Vec::new());

const MODE: ThreadsafeFunctionCallMode = ThreadsafeFunctionCallMode::NonBlocking;

/// Warnings that wait for a busy event loop; more are dropped.
const MAX_QUEUED: usize = 64;

//! What happens → lines: plain or JSON, news to standard output, troubles to standard error.

use std::fmt::{self, Write as _};
use std::io;

use iamsql::Error;
use serde_json::json;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logs;

/// Starts logging: INFO and worse, or what `RUST_LOG` asks for. To be called before the process has a second thread,
/// because only then can the local time zone be read.
///
/// Whatever is asked for, the libraries that carry tokens and keys stay at WARN: their details would show them.
pub(crate) fn start(logs: Logs) {
    let level = match logs {
        Logs { quiet: true, .. } => Level::ERROR,
        Logs { debug: true, .. } => Level::DEBUG,
        _ => Level::INFO,
    };
    let asked = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let loudest = if logs.quiet {
        LevelFilter::ERROR
    } else {
        LevelFilter::TRACE
    };
    let line = Line {
        structured: logs.structured,
        offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(line)
        .with_ansi(false)
        .with_writer(Streams)
        .with_filter(asked.and(FilterFn::new(may_be_shown)).and(loudest));
    tracing_subscriber::registry().with(lines).init();
}

/// An engine error as one line with its causes and what to do about it.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    anyhow::anyhow!("{}", Explained(&error))
}

/// Displays an engine error: what failed, why, its code, what to do.
pub(crate) struct Explained<'a>(pub(crate) &'a Error);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.chain())?;
        match self.0.advice() {
            Some(advice) => write!(f, " ({}: {advice})", self.0.code()),
            None => write!(f, " ({})", self.0.code()),
        }
    }
}

fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let origin = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || !CARRIERS.contains(&origin)
}

/// `2026/11/22 15:04:05 message` in local time, or the JSON object that Google Cloud Logging reads.
struct Line {
    structured: bool,
    offset: UtcOffset,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = OffsetDateTime::now_utc().to_offset(self.offset);
        let mut text = Text::default();
        event.record(&mut text);
        let message = text.message + &text.fields;
        if !self.structured {
            let now = now.format(TIME).map_err(|_| fmt::Error)?;
            return writeln!(writer, "{now} {message}");
        }
        let now = now.replace_nanosecond(0).map_err(|_| fmt::Error)?;
        let now = now.format(&Rfc3339).map_err(|_| fmt::Error)?;
        // serde_json would sort the keys; people grep them in this order.
        writeln!(
            writer,
            r#"{{"timestamp":"{now}","severity":"{}","message":{}}}"#,
            severity(*event.metadata().level()),
            json!(message)
        )
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// An event's message, and its other fields as ` name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => _ = write!(self.fields, " {name}={value:?}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

struct Streams;

impl<'a> MakeWriter<'a> for Streams {
    type Writer = Box<dyn io::Write>;

    fn make_writer(&'a self) -> Self::Writer {
        Box::new(io::stdout())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        match *metadata.level() <= Level::WARN {
            true => Box::new(io::stderr()),
            false => self.make_writer(),
        }
    }
}

const TIME: &[FormatItem<'_>] =
    format_description!("[year]/[month]/[day] [hour]:[minute]:[second]");

const CARRIERS: [&str; 7] = [
    "google_cloud_auth",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio_rustls",
];

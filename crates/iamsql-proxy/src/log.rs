//! What happens → lines: `2026/11/22 15:04:05 message` in UTC, news to standard output, troubles to standard error.

use std::fmt;
use std::io;

use iamsql::Error;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging: INFO and worse, or what `RUST_LOG` asks for.
///
/// Whatever it asks for, the libraries that carry tokens and keys stay at WARN: their details would show them.
pub(crate) fn start() {
    let asked = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Line)
        .with_ansi(false)
        .with_writer(Streams)
        .with_filter(asked.and(FilterFn::new(may_be_shown)));
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

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = OffsetDateTime::now_utc()
            .format(TIME)
            .map_err(|_| fmt::Error)?;
        write!(writer, "{now} ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
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

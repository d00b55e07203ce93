//! Logging to standard error in memcached's form: bare messages, and no message unless something is wrong or -v is given.
//!
//! | verbosity | tracing level |
//! |---|---|
//! | 0 | `WARN`: what an operator must know |
//! | 1 (-v) | `INFO`: errors and warnings of single connections |
//! | 2 (-vv) | `DEBUG`: commands and replies |
//! | 3 (-vvv) | `TRACE`: state changes |
//!
//! The `verbosity` command changes the level at run time. A disabled event costs one relaxed load.
//!
//! The state is process-wide: the verbosity is an atomic that any thread reads, and the subscriber is installed once at start.
//! For the `verbosity` command any ring may change the verbosity, and with it the subscriber's filter.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

static VERBOSITY: AtomicU8 = AtomicU8::new(0);
static FILTER: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging to standard error at `verbosity`, the number of -v. A later call in the same process only changes the
/// verbosity.
pub fn start(verbosity: u8) {
    let (filter, handle) = reload::Layer::new(level(verbosity));
    if FILTER.set(handle).is_ok() {
        let subscriber = subscriber(filter, io::stderr);
        // If there is a subscriber already (a test's), it gets the lines.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
    set_verbosity(verbosity);
}

/// Returns the verbosity, as a number of -v. The load is relaxed: a ring that sees a change late may log a line too many or too
/// few.
pub fn verbosity() -> u8 {
    VERBOSITY.load(Ordering::Relaxed)
}

/// Changes the verbosity for all threads. `verbosity` is a number of -v.
pub fn set_verbosity(verbosity: u8) {
    VERBOSITY.store(verbosity, Ordering::Relaxed);
    if let Some(filter) = FILTER.get() {
        // Fails only if the subscriber is gone, and it lives as long as the process.
        let _ = filter.reload(level(verbosity));
    }
}

/// Returns the message of `error` as strerror(3) gives it, without the suffix `(os error 2)` that Rust adds.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error().and_then(|errno| text.strip_suffix(&format!(" (os error {errno})"))) {
        Some(reason) => reason.to_owned(),
        None => text,
    }
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

fn subscriber<W>(filter: reload::Layer<LevelFilter, Registry>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().event_format(BareLine).with_ansi(false).with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

/// Formats a log event as its message alone, without time, level and target.
struct BareLine;

impl<S, N> FormatEvent<S, N> for BareLine
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
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io::Write;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_bare_and_levels_follow_the_verbosity() {
        let sink = Sink::default();
        let (filter, handle) = reload::Layer::new(level(0));
        let writer = sink.clone();
        tracing::subscriber::with_default(subscriber(filter, move || writer.clone()), || {
            tracing::warn!("warning: {}", 1);
            tracing::info!("not yet");
            tracing::debug!("<26 get k");
            handle.reload(level(2)).unwrap();
            tracing::debug!("<26 get k");
            tracing::trace!("26: going from conn_new_cmd to conn_waiting");
            handle.reload(level(3)).unwrap();
            tracing::trace!("26: going from conn_new_cmd to conn_waiting");
        });
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert_eq!(text, "warning: 1\n<26 get k\n26: going from conn_new_cmd to conn_waiting\n");
    }

    #[test]
    fn reasons_are_worded_by_the_system() {
        assert_eq!(reason(&io::Error::from_raw_os_error(libc::ENOMEM)), "Cannot allocate memory");
        assert_eq!(reason(&io::Error::other("of ours")), "of ours");
    }
}

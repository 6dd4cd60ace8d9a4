//! Logs: one logfmt line an event, on stderr. Fields carry the names of the manual: `prefix`,
//! `upgrade`, `phase`, `shard`, `port`, `queue`, `generation`, `pid`, `duration_ns`, `error`, `hint`.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The variable that filters what is logged, for the supervisor and the tenants alike.
pub const VARIABLE: &str = "BATON_LOG";

/// Logs to stderr from now on; `verbose` lowers the level unless the variable says otherwise.
pub fn install(verbose: u8) {
    let usual = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(usual));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Logfmt)
        .try_init();
}

struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = line(*event.metadata().level());
        event.record(&mut line);
        writeln!(to, "{}", line.finish())
    }
}

/// A line under construction: the message first, then the fields.
struct Line {
    head: String,
    message: String,
    fields: String,
}

fn line(level: Level) -> Line {
    let level = level.as_str().to_ascii_lowercase();
    Line {
        head: format!("ts={} level={level}", jiff::Timestamp::now()),
        message: String::new(),
        fields: String::new(),
    }
}

impl Line {
    fn add(&mut self, name: &str, value: &str) {
        let to = if name == "message" {
            &mut self.message
        } else {
            &mut self.fields
        };
        let name = if name == "message" { "msg" } else { name };
        let _ = write!(to, " {name}=");
        if !value.is_empty() && !value.contains([' ', '"', '=', '\n', '\t', '\\']) {
            to.push_str(value);
            return;
        }
        to.push('"');
        for c in value.chars() {
            match c {
                '"' => to.push_str("\\\""),
                '\\' => to.push_str("\\\\"),
                '\n' => to.push_str("\\n"),
                '\t' => to.push_str("\\t"),
                other => to.push(other),
            }
        }
        to.push('"');
    }

    fn finish(self) -> String {
        self.head + &self.message + &self.fields
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_message_first_and_quotes_what_needs_it() {
        let mut line = Line {
            head: "level=info".into(),
            message: String::new(),
            fields: String::new(),
        };
        line.add("phase", "swap");
        line.add("message", "shard moved");
        line.add("hint", "say \"why\"\nhere");
        line.add("error", "");
        assert_eq!(
            line.finish(),
            "level=info msg=\"shard moved\" phase=swap hint=\"say \\\"why\\\"\\nhere\" error=\"\""
        );
    }
}

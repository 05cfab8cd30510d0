//! Log entries as JSON: time, level, target and message, with the fields of the entry and of the spans around it beside them.
use std::fmt::Debug;
use std::io::Write;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::text::iso;

/// Writes every entry as one line.
pub(super) struct JsonLog<F> {
    writer: F,
    node: Option<String>,
}

impl<W: Write, F: Fn() -> W> JsonLog<F> {
    /// A log that asks for its writer at every entry, and says in each which node it is of.
    pub(super) fn new(writer: F, node: Option<&str>) -> Self {
        Self { writer, node: node.map(str::to_owned) }
    }
}

/// Fields as they were told; in a span, kept until it ends.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl<S, W, F> Layer<S> for JsonLog<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write,
    F: Fn() -> W + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Fields::default();
        if let Some(node) = &self.node {
            line.0.insert("node".to_owned(), node.as_str().into());
        }
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        event.record(&mut line);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let metadata = event.metadata();
        // What every entry has goes last: no field takes its place.
        line.0.insert("time".to_owned(), iso(u64::try_from(now).unwrap_or(u64::MAX)).into());
        line.0.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
        line.0.insert("target".to_owned(), metadata.target().into());
        line.0.entry("message").or_insert_with(|| "".into());
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // A standard error that nobody reads any more must not bring the process down.
        let _ = (self.writer)().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// A log that a test can read.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_entry_tells_its_own_fields_and_those_of_the_spans_around_it() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::registry().with(JsonLog::new(move || writer.clone(), Some("node-1")));
        tracing::subscriber::with_default(log, || {
            let span = tracing::info_span!("attempt", swarm = %"sw_1", iteration = 3, late = tracing::field::Empty);
            let _entered = span.enter();
            span.record("late", true);
            tracing::warn!(level = "loud", elapsed_ms = 7_u64, error = ?"two\nlines", "it took {} ms", 7);
            tracing::info!(tries = -1);
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        let expected = [
            ("node", "node-1".into()),
            ("swarm", "sw_1".into()),
            ("iteration", 3.into()),
            ("late", true.into()),
            ("elapsed_ms", 7.into()),
            ("error", r#""two\nlines""#.into()),
            ("level", "warn".into()),
            ("message", Value::from("it took 7 ms")),
        ];
        for (name, value) in expected {
            assert_eq!(lines[0][name], value, "{name} of {text}");
        }
        assert!(lines[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{text}");
        assert!(lines[0]["target"].as_str().is_some_and(|target| target.contains("logging::json")), "{text}");
        assert_eq!((&lines[1]["message"], &lines[1]["tries"]), (&"".into(), &(-1).into()));
    }
}

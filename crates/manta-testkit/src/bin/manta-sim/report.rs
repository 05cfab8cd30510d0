//! What many runs came to.
use std::time::Duration;

use manta_testkit::bench::{Document, Machine, Row};
use manta_testkit::sim::{Failure, Outcome};

use crate::arguments::Arguments;

/// Sums over the runs in which everything held.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    runs: u64,
    steps: u64,
    events: u64,
    accepted: u64,
    manager_crashes: u64,
    node_crashes: u64,
    virtual_ms: u64,
    /// How long all took, in wall time.
    pub(crate) took: Duration,
}

impl Totals {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.steps += outcome.steps;
        self.events += outcome.events as u64;
        self.accepted += outcome.accepted as u64;
        self.manager_crashes += outcome.crashes.manager;
        self.node_crashes += outcome.crashes.nodes;
        self.virtual_ms += outcome.virtual_ms;
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn rows(&self, failed: usize) -> Vec<Row> {
        let seconds = self.took.as_secs_f64().max(1e-9);
        let plain = |name: &str, value: u64, unit| Row::plain(name, value as f64, unit);
        vec![
            plain("seeds that held", self.runs, ""),
            Row::at_most("seeds that failed", failed as f64, "", 0.0),
            Row::plain("seeds per minute", self.runs as f64 * 60.0 / seconds, "/min"),
            Row::plain("virtual time per wall time", self.virtual_ms as f64 / 1000.0 / seconds, "x"),
            Row::plain("virtual hours", self.virtual_ms as f64 / 3_600_000.0, "h"),
            plain("steps", self.steps, ""),
            plain("events", self.events, ""),
            plain("attempts accepted", self.accepted, ""),
            plain("deaths of the manager", self.manager_crashes, ""),
            plain("deaths of nodes", self.node_crashes, ""),
        ]
    }

    /// Prints the figures.
    pub(crate) fn print(&self, arguments: &Arguments, failures: &[Failure]) {
        let rows = self.rows(failures.len());
        if arguments.json {
            let document = Document { schema_version: 1, machine: Machine::read(), rows };
            println!("{}", serde_json::to_string_pretty(&document).expect("figures are JSON"));
            return;
        }
        for row in rows {
            println!("{:<28} {:>14.1} {}", row.name, row.value, row.unit);
        }
    }
}

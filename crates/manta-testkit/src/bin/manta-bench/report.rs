//! What is printed: each row as soon as it is measured, or one document at the end.
use anyhow::Result;
use manta_testkit::bench::{Document, Machine, Row};

/// The rows of a run.
pub(crate) struct Report {
    json: bool,
    has_head: bool,
    document: Document,
}

impl Report {
    /// Reads the machine before anything weighs on it.
    pub(crate) fn begin(json: bool) -> Self {
        let machine = Machine::read();
        Self { json, has_head: false, document: Document { schema_version: 1, machine, rows: Vec::new() } }
    }

    /// Takes rows, and prints them at once: a long run that is cut off has said what it knew.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        if !self.json {
            if !std::mem::replace(&mut self.has_head, true) {
                print_head(&self.document.machine);
            }
            rows.iter().for_each(print);
        }
        self.document.rows.extend(rows);
    }

    /// Prints the document where one is wanted.
    pub(crate) fn end(self) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(&self.document)?);
        }
        Ok(())
    }
}

fn print_head(machine: &Machine) {
    let Machine { cores, memory_bytes, kernel, load } = machine;
    println!("{cores} cores, {} GiB, Linux {kernel}, load {load} before the run", memory_bytes >> 30);
    println!("{:<56} {:>10} {:<4} {:>8} {:>4}  versus", "name", "value", "unit", "aim", "met");
}

fn print(row: &Row) {
    let Row { name, value, unit, versus, ratio, aim, met } = row;
    let aim = aim.map(figure).unwrap_or_default();
    let met = met.map_or("", |met| if met { "yes" } else { "no" });
    let ratio = ratio.map(|ratio| format!("{ratio:.2} × {versus}")).unwrap_or_default();
    println!("{name:<56} {:>10} {unit:<4} {aim:>8} {met:>4}  {ratio}", figure(*value));
}

/// As many digits as mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

//! Benchmark rows: what was measured, beside what, and whether the aim was met.
use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is compared with, in words; empty where there is nothing.
    pub versus: String,
    /// Value over the other's value.
    pub ratio: Option<f64>,
    /// The aim, in the same unit; a lower value meets it.
    pub aim: Option<f64>,
    /// Whether the aim was met; absent where there is none.
    pub met: Option<bool>,
}

impl Row {
    /// A figure that should not exceed an aim.
    pub fn at_most(name: &str, value: f64, unit: &'static str, aim: f64) -> Self {
        let (name, versus) = (name.to_owned(), String::new());
        Self { name, value, unit, versus, ratio: None, aim: Some(aim), met: Some(value <= aim) }
    }

    /// A figure without an aim.
    pub fn plain(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value, unit, versus: String::new(), ratio: None, aim: None, met: None }
    }

    /// The same, beside another figure of the same run.
    #[must_use]
    pub fn versus(mut self, what: &str, other: f64) -> Self {
        self.versus = what.to_owned();
        self.ratio = (other != 0.0).then(|| self.value / other);
        self
    }
}

/// What `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// Version of this form.
    pub schema_version: u32,
    /// Cores, memory and kernel of the machine, and its load when the run began.
    pub machine: Machine,
    /// The figures.
    pub rows: Vec<Row>,
}

/// The machine that a figure was measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Load average over one minute.
    pub load: f64,
}

impl Machine {
    /// Reads `/proc`.
    pub fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory_kib = text("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory_kib.unwrap_or(0) << 10,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

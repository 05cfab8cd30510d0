//! What `/proc` says of running processes: who descends from whom, their anonymous memory, the time their children took.
use std::collections::BTreeMap;
use std::fs;

/// Largest anonymous proportional memory seen so far of each role, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    pub(crate) manager: u64,
    pub(crate) agent: u64,
}

impl Peaks {
    /// Looks at every descendant of `root` once.
    pub(crate) fn look(&mut self, root: u32) {
        for pid in descendants(root) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let role = words.iter().position(|word| word == "run").and_then(|at| words.get(at.checked_sub(1)?));
            match role.map(AsRef::as_ref) {
                Some("manager") => self.manager = self.manager.max(anonymous(pid)),
                Some("node") => self.agent = self.agent.max(anonymous(pid)),
                _ => {}
            }
        }
    }
}

/// Processes below one.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = stat_fields(&format!("/proc/{pid}/stat")).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let next = children.remove(&pid).unwrap_or_default();
        found.extend(&next);
        open.extend(next);
    }
    found
}

/// The fields of a stat file from the state on: what stands before may hold spaces.
fn stat_fields(path: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Anonymous proportional memory of a process, in bytes; 0 where it cannot be told.
pub(crate) fn anonymous(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Processor time of this process's ended children in milliseconds (ticks are 10 ms: measure many at once).
pub(crate) fn children_cpu_ms() -> f64 {
    ticks_ms("/proc/self/stat", [13, 14])
}

/// Processor time of a process in milliseconds, by the same ticks.
pub(crate) fn cpu_ms(pid: u32) -> f64 {
    ticks_ms(&format!("/proc/{pid}/stat"), [11, 12])
}

fn ticks_ms(path: &str, fields: [usize; 2]) -> f64 {
    let stat = stat_fields(path).unwrap_or_default();
    let ticks = |at: usize| stat.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    fields.map(ticks).iter().sum::<f64>() * 10.0
}

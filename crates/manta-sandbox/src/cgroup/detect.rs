//! Finds the hierarchies that this process may use, prepares a directory in each, and sweeps what dead launchers left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Controller, Group, Version, group, v1, v2};
use crate::launcher::LauncherName;
use crate::rlimits::Enforced;
use crate::{CgroupReport, CgroupVersion, Limits, StartError};

/// Directory under which all launchers of a machine keep theirs.
const SHARED_DIR: &str = "manta";

/// One mounted hierarchy, or the part of the unified one, that limits are held by.
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// This launcher's directory; each sandbox has one below it.
    pub(super) root: PathBuf,
    pub(super) controllers: Vec<Controller>,
}

/// Makes the control groups of this launcher's sandboxes.
pub(crate) struct Manager {
    hierarchies: Vec<Hierarchy>,
}

impl Manager {
    /// Uses every controller that this process may use; none is fine.
    pub(crate) fn detect(name: &LauncherName) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut hierarchies = Vec::new();
        let mut missing = Controller::ALL.to_vec();
        for mounted in mounted_hierarchies(&mountinfo) {
            let prepared = match mounted.version {
                Version::V1 => prepare_v1(&mounted, &missing, name),
                Version::V2 => prepare_v2(&mounted, &missing, name),
            };
            if let Some(hierarchy) = prepared {
                missing.retain(|controller| !hierarchy.controllers.contains(controller));
                hierarchies.push(hierarchy);
            }
        }
        Self { hierarchies }
    }

    /// What can be limited, for the host report.
    pub(crate) fn report(&self) -> CgroupReport {
        report(self.hierarchies.iter().map(|hierarchy| hierarchy.version), |controller| self.has(controller))
    }

    /// Which limits need no stand-in.
    pub(crate) fn enforced(&self) -> Enforced {
        Enforced { memory: self.has(Controller::Memory), pids: self.has(Controller::Pids) }
    }

    /// Whether `controller` can be used.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// Makes the groups of one sandbox.
    pub(crate) fn create(&self, id: &str, limits: Option<&Limits>) -> Result<Group, StartError> {
        Group::create(&self.hierarchies, id, limits)
    }

    /// Removes this launcher's directories, which must be empty by now, and the shared ones if nobody else uses them.
    pub(crate) fn remove(&self) {
        for hierarchy in &self.hierarchies {
            // Another launcher's directory beside ours keeps the shared one, as it should.
            let _ =
                fs::remove_dir(&hierarchy.root).and_then(|()| hierarchy.root.parent().map_or(Ok(()), fs::remove_dir));
        }
    }
}

/// Which interfaces and controllers there are, for a report.
pub(super) fn report(versions: impl Iterator<Item = Version>, has: impl Fn(Controller) -> bool) -> CgroupReport {
    let versions: Vec<Version> = versions.collect();
    let version = match (versions.contains(&Version::V1), versions.contains(&Version::V2)) {
        (true, true) => CgroupVersion::Mixed,
        (true, false) => CgroupVersion::V1,
        (false, true) => CgroupVersion::V2,
        (false, false) => CgroupVersion::None,
    };
    let controllers = Controller::ALL.into_iter().filter(|controller| has(*controller));
    CgroupReport { version, controllers: controllers.map(|controller| controller.name().to_owned()).collect() }
}

pub(super) struct Mounted {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
    /// Names among the mount's options, of v1 controllers.
    pub(super) options: Vec<String>,
}

/// Mounted hierarchies, v1 first, from the text of `/proc/self/mountinfo` (proc(5)).
pub(super) fn mounted_hierarchies(mountinfo: &str) -> Vec<Mounted> {
    let mut found: Vec<Mounted> = mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let dir = PathBuf::from(before.split(' ').nth(4)?);
            let mut fields = after.split(' ');
            let version = match fields.next()? {
                "cgroup" => Version::V1,
                "cgroup2" => Version::V2,
                _ => return None,
            };
            let options = fields.nth(1)?.split(',').map(str::to_owned).collect();
            Some(Mounted { version, dir, options })
        })
        .collect();
    found.sort_by_key(|mounted| mounted.version == Version::V2);
    found
}

fn prepare_v1(mounted: &Mounted, wanted: &[Controller], name: &LauncherName) -> Option<Hierarchy> {
    let has = |controller: &Controller| mounted.options.iter().any(|option| option == controller.name());
    let controllers: Vec<Controller> = wanted.iter().copied().filter(has).collect();
    if controllers.is_empty() {
        return None;
    }
    let root = make_root(&mounted.dir, name).ok()?;
    weigh(&root);
    Some(Hierarchy { version: Version::V1, root, controllers })
}

fn prepare_v2(mounted: &Mounted, wanted: &[Controller], name: &LauncherName) -> Option<Hierarchy> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| mounted.dir.join(path));
    let bases = if rustix::process::geteuid().is_root() { vec![Some(mounted.dir.clone()), own] } else { vec![own] };
    bases.into_iter().flatten().find_map(|base| {
        let available = v2::available(&base);
        let controllers: Vec<Controller> =
            wanted.iter().copied().filter(|controller| available.contains(controller)).collect();
        if controllers.is_empty() {
            return None;
        }
        v2::pass_on(&base, &controllers).ok()?;
        let root = make_root(&base, name).ok()?;
        v2::pass_on(root.parent()?, &controllers).and_then(|()| v2::pass_on(&root, &controllers)).ok()?;
        weigh(&root);
        Some(Hierarchy { version: Version::V2, root, controllers })
    })
}

/// Sweeps what dead launchers left below `base`, then makes this launcher's directory there.
fn make_root(base: &Path, name: &LauncherName) -> io::Result<PathBuf> {
    let shared = base.join(SHARED_DIR);
    sweep(&shared);
    let root = shared.join(name.to_string());
    // A launcher that ends at this moment may remove the shared directory between the two steps inside.
    fs::create_dir_all(&root).or_else(|_| fs::create_dir_all(&root))?;
    Ok(root)
}

/// Gives the groups that hold all sandboxes the weight of all processors: with that of one, tasks on a busy host would share what one
/// of its threads gets.
fn weigh(root: &Path) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
    root.parent().into_iter().chain([root]).for_each(|dir| weigh_one(dir, cores));
}

fn weigh_one(dir: &Path, cores: f64) {
    for (file, weight) in [(v1::WEIGHT, v1::shares(cores)), (v2::WEIGHT, v2::shares(cores))] {
        let path = dir.join(file);
        if path.exists() {
            // Without it tasks only get less on a busy host.
            let _ = fs::write(path, weight.to_string());
        }
    }
}

fn sweep(shared: &Path) {
    let subdirs = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
    };
    for root in subdirs(shared) {
        let stale = root
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(LauncherName::parse)
            .is_some_and(|name| name.is_dead());
        if stale {
            for dir in subdirs(&root) {
                crate::launcher::retry_briefly(|| group::remove_dir(&dir));
            }
            // What cannot be removed yet is tried again by the next launcher.
            let _ = fs::remove_dir(&root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Nearness;

    #[test]
    fn hierarchies_are_found_in_mountinfo_v1_first() {
        let text = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
        let found = mounted_hierarchies(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].dir, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(found[0].options.contains(&"cpu".to_owned()));
        assert_eq!(found[1].version, Version::V2);
    }

    #[test]
    fn groups_of_all_sandboxes_weigh_as_much_as_the_processors() {
        let tree = tempfile::tempdir().unwrap();
        for (file, weight) in [("cpu.shares", "8192"), ("cpu.weight", "800")] {
            fs::write(tree.path().join(file), "").unwrap();
            weigh_one(tree.path(), 8.0);
            assert_eq!(fs::read_to_string(tree.path().join(file)).unwrap(), weight);
        }
    }

    /// What Linux 6.1 had in the files of a group whose limit of 64 MiB was reached.
    const RECORDED: [(&str, &str); 8] = [
        ("memory.current", "61489152\n"),
        ("memory.peak", "67108864\n"),
        ("memory.events", "low 0\nhigh 0\nmax 1187\noom 2\noom_kill 1\noom_group_kill 1\n"),
        (
            "memory.stat",
            "anon 60030976\nfile 1163264\nkernel 294912\ninactive_anon 60026880\nactive_anon 8192\n\
                         inactive_file 1048576\nactive_file 0\nunevictable 0\n",
        ),
        ("pids.events", "max 3\n"),
        ("pids.peak", "48\n"),
        ("pids.current", "2\n"),
        ("cgroup.procs", ""),
    ];

    fn v2_group(tree: &Path, limits: &Limits) -> Group {
        let root = tree.to_owned();
        let hierarchy = Hierarchy { version: Version::V2, root, controllers: Controller::ALL.to_vec() };
        let group = Group::create(&[hierarchy], "at_1", Some(limits)).unwrap();
        for (file, content) in RECORDED {
            fs::write(tree.join("at_1").join(file), content).unwrap();
        }
        group
    }

    #[test]
    fn v2_files_tell_what_a_task_used_and_which_limits_it_ran_into() {
        let tree = tempfile::tempdir().unwrap();
        let group = v2_group(tree.path(), &Limits { memory_bytes: 64 << 20, pids: 48, cpu: 1.0 });
        let readings = group.readings();
        assert_eq!((readings.oom_kills, readings.pids_refused), (1, 3));
        assert_eq!((readings.peak_memory_bytes, readings.peak_pids), (Some(64 << 20), Some(48)));
        // The kernel kills the whole group, so nobody has to watch for a tree of which one process is gone.
        assert!(!group.needs_watching());
    }

    #[test]
    fn v2_nearness_leaves_out_what_the_kernel_takes_back() {
        let tree = tempfile::tempdir().unwrap();
        let group = v2_group(tree.path(), &Limits { memory_bytes: 64 << 20, pids: 48, cpu: 1.0 });
        assert!(group.limits_memory() && !group.tells_of_memory(), "somebody has to look from time to time");
        let nearness = || group.headroom().map(|room| room.nearness);
        let put = |file: &str, content: &str| fs::write(tree.path().join("at_1").join(file), content).unwrap();
        assert_eq!(nearness(), Some(Nearness::Near));
        put("memory.stat", "anon 50000000\ninactive_file 8388608\nactive_file 1048576\n");
        assert_eq!(nearness(), Some(Nearness::Far), "pages of files are given back when somebody asks");
        put("memory.current", "63000000\n");
        assert_eq!(nearness(), Some(Nearness::Far));
        put("memory.stat", "anon 55000000\ninactive_file 4194304\nactive_file 0\n");
        assert_eq!(nearness(), Some(Nearness::Between));
        put("memory.current", "no number");
        assert_eq!(group.headroom(), None);
    }

    #[test]
    fn a_v2_tree_that_is_to_end_gets_processor_time_and_no_new_processes() {
        let tree = tempfile::tempdir().unwrap();
        let group = v2_group(tree.path(), &Limits { memory_bytes: 64 << 20, pids: 48, cpu: 0.1 });
        group.prepare_end();
        let read = |file: &str| fs::read_to_string(tree.path().join("at_1").join(file)).unwrap();
        assert_eq!((read("cpu.max"), read("pids.max")), ("max".into(), "0".into()));
    }

    #[test]
    fn v2_controllers_are_passed_on_as_far_as_they_are_there() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("cgroup.controllers"), "cpuset cpu io memory hugetlb\n").unwrap();
        let available = v2::available(tree.path());
        assert_eq!(available, [Controller::Memory, Controller::Cpu]);
        v2::pass_on(tree.path(), &available).unwrap();
        assert_eq!(fs::read_to_string(tree.path().join("cgroup.subtree_control")).unwrap(), "+memory +cpu");
        assert_eq!(v2::available(&tree.path().join("nothing")), []);
    }

    #[test]
    fn v2_limits_land_in_the_files_of_the_kernel_interface() {
        let tree = tempfile::tempdir().unwrap();
        let group = tree.path().join("at_1");
        let hierarchies =
            [Hierarchy { version: Version::V2, root: tree.path().to_owned(), controllers: Controller::ALL.to_vec() }];
        let limits = Limits { memory_bytes: 4096, pids: 7, cpu: 0.5 };
        Group::create(&hierarchies, "at_1", Some(&limits)).unwrap();
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(
            (read("memory.max"), read("pids.max"), read("cpu.max")),
            ("4096".into(), "7".into(), "50000 100000".into())
        );
    }
}

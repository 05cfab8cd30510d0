//! A task inherits four descriptors and not one more.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::support::all_tiers;

#[test]
fn only_the_four_descriptors_are_open() {
    // Decoys that are open in the agent, without close-on-exec.
    let decoys: Vec<File> = (0..8).map(|_| File::open("/etc/passwd").unwrap()).collect();
    for decoy in &decoys {
        rustix::io::fcntl_setfd(decoy, rustix::io::FdFlags::empty()).unwrap();
    }
    assert!(decoys.iter().all(|decoy| decoy.as_raw_fd() > 2));
    for lab in all_tiers() {
        let said = lab.must(
            "import os\n\
             found = []\n\
             for fd in range(1024):\n\
             \x20   try: os.fstat(fd); found.append(fd)\n\
             \x20   except OSError: pass\n\
             print(found, [os.readlink(f'/proc/self/fd/{fd}').split(':')[0] for fd in found])",
        );
        assert_eq!(said, "[0, 1, 2, 3] ['/dev/null', 'pipe', 'pipe', 'socket']", "{:?}", lab.tier);
    }
}

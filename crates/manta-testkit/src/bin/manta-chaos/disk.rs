//! File systems of our own, on which disks can be filled and the power can be cut.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::site::Site;

/// Megabytes of a file system that loses its power.
const IMAGE_MIB: u64 = 96;
/// What ext4 does at once when asked by `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing that is not on the disk
/// already ever will be. Asked through Python, since an ioctl is unsafe code here.
const CUT: &str = "import fcntl,os,struct,sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// Runs a program and fails with its words.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("starting `{program}`"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {}` ended with {}: {words}", arguments.join(" "), output.status);
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not plain text", path.display()))
}

/// A small file system in memory.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many megabytes.
    pub(crate) fn mount(site: &Site, mebibytes: u64) -> Result<Self> {
        let dir = site.root().join("small");
        std::fs::create_dir(&dir)?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "chaos", text(&dir)?])?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes all space but so many bytes, for as long as the file is there.
    pub(crate) fn fill(&self, leave: u64) -> Result<PathBuf> {
        let filler = self.dir.join("filler");
        let file = std::fs::File::create(&filler)?;
        loop {
            let found = rustix::fs::statvfs(&self.dir)?;
            let taken = (found.f_bavail * found.f_frsize).saturating_sub(leave);
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken.max(1)) {
                // Whoever works here took some of it meanwhile.
                Err(rustix::io::Errno::NOSPC) if taken > 0 => {}
                done => {
                    done.or_else(|error| if taken == 0 { Ok(()) } else { Err(error) })?;
                    return Ok(filler);
                }
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still uses it after a failure keeps it; the mount is this program's own and ends with it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}

/// An ext4 file system in a file.
#[derive(Debug)]
pub(crate) struct PowerDisk {
    dir: PathBuf,
    image: PathBuf,
    cuts: u32,
    python: PathBuf,
}

impl PowerDisk {
    /// Makes one and mounts it.
    pub(crate) fn mount(site: &Site) -> Result<Self> {
        let (dir, image) = (site.root().join("disk"), site.root().join("disk-0.img"));
        std::fs::create_dir(&dir)?;
        std::fs::File::create(&image)?.set_len(IMAGE_MIB << 20)?;
        run("mkfs.ext4", &["-q", "-F", text(&image)?])?;
        let disk = Self { dir, image, cuts: 0, python: site.python().to_owned() };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> Result<()> {
        run("mount", &["-t", "ext4", "-o", "loop", text(&self.image)?, text(&self.dir)?])
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Cuts the power. What is on the disk at this moment is all that will be there afterwards; who uses it must be
    /// killed before [`PowerDisk::restore`].
    pub(crate) fn cut(&mut self) -> Result<()> {
        run(text(&self.python)?, &["-I", "-c", CUT, text(&self.dir)?])?;
        self.cuts += 1;
        // A copy, because the dead file system may be held by a mount namespace of somebody else's.
        let image = self.image.with_file_name(format!("disk-{}.img", self.cuts));
        run("cp", &["--sparse=always", text(&self.image)?, text(&image)?])?;
        std::fs::remove_file(std::mem::replace(&mut self.image, image))?;
        Ok(())
    }

    /// Mounts what is left, in the same place.
    pub(crate) fn restore(&self) -> Result<()> {
        run("umount", &["--lazy", text(&self.dir)?])?;
        self.attach()
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}

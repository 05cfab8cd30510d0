//! Which C library an image has: what packages with code of their own are made for.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use manta_types::Library;
use rustix::fs::OFlags;

use crate::python::open_inside;

/// Directories in which it is looked for; those of the machine's own architecture follow.
const DIRECTORIES: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
/// Bytes of a C library; glibc's has about two million.
const BYTES_MAX: u64 = 16 << 20;
/// What glibc writes before its version, in its own file.
const GLIBC: &[u8] = b" release version ";
/// The version that musl's loader has had since 2019; it stands nowhere in its file.
const MUSL: Library = Library::Musl(1, 2);

/// Finds the C library in an image's root directory.
pub(crate) fn find(root: &OwnedFd) -> Option<Library> {
    let machine = std::env::consts::ARCH;
    let own = [format!("/lib/{machine}-linux-gnu"), format!("/usr/lib/{machine}-linux-gnu")];
    let directories = || DIRECTORIES.into_iter().chain(own.iter().map(String::as_str));
    let glibc = directories().find_map(|directory| glibc_version(root, &Path::new(directory).join("libc.so.6")));
    glibc.or_else(|| {
        let loader = format!("ld-musl-{machine}.so.1");
        let found = |directory| open_inside(root, &Path::new(directory).join(&loader), OFlags::PATH).is_some();
        directories().any(found).then_some(MUSL)
    })
}

fn glibc_version(root: &OwnedFd, path: &Path) -> Option<Library> {
    let file = std::fs::File::from(open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    version_in(&bytes)
}

fn version_in(bytes: &[u8]) -> Option<Library> {
    let at = bytes.windows(GLIBC.len()).position(|window| window == GLIBC)? + GLIBC.len();
    let text: String = bytes[at..].iter().take(12).map(|byte| char::from(*byte)).collect();
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(Library::Glibc(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_glibc_is_read_from_its_own_words() {
        let words = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright";
        assert_eq!(version_in(words), Some(Library::Glibc(2, 36)));
        assert_eq!(version_in(b"release version x"), None);
    }

    #[test]
    fn an_image_without_a_c_library_has_none_whatever_the_host_has() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("lib")).unwrap();
        std::os::unix::fs::symlink(
            "../../../../../../lib/x86_64-linux-gnu/libc.so.6",
            dir.path().join("lib/libc.so.6"),
        )
        .unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(find(&root), None);
        std::fs::write(dir.path().join("lib").join(format!("ld-musl-{}.so.1", std::env::consts::ARCH)), "").unwrap();
        assert_eq!(find(&root), Some(MUSL));
    }
}

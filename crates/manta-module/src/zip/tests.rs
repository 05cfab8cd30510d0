//! Archives as we write them, and as an attacker would.
use std::collections::BTreeMap;

use manta_types::Blob;
use proptest::prelude::*;

use super::*;
use crate::{BundleManifest, BundleMeta, Entry as EntryPoint, Locked, ModuleResources, Target, Wheel, digest_of, pack};

fn manifest(files: &BTreeMap<String, Vec<u8>>) -> BundleManifest {
    let meta = BundleMeta {
        name: "worker".into(),
        version: Some("1.0.0".into()),
        entry: EntryPoint::Code { file: "worker.py".into(), target: Target::Call("main".into()) },
        image: "manta_light:latest".into(),
        datasets: vec![],
        resources: ModuleResources::default(),
        isolation: None,
        description: None,
        requires_manta: None,
        images: vec![],
        architectures: vec![],
        requires_python: None,
        dependencies: vec![],
    };
    let blobs =
        files.iter().map(|(path, bytes)| (path.clone(), Blob { digest: digest_of(bytes), size: bytes.len() as u64 }));
    pack(meta, blobs).unwrap().manifest
}

fn archive(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, &manifest(files), &[], of(files.values())).unwrap();
    out
}

/// Gives the bytes of a blob that is among some.
fn of<'a>(all: impl Iterator<Item = &'a Vec<u8>> + Clone) -> impl FnMut(&Blob) -> std::io::Result<Vec<u8>> {
    move |blob| Ok(all.clone().find(|bytes| digest_of(bytes) == blob.digest).unwrap().clone())
}

fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let archive = Archive::read(bytes)?;
    let mut all = Vec::new();
    for file in archive.files() {
        let mut content = Vec::new();
        archive.unpack(file, |piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        all.push((file.path.clone(), content));
    }
    Ok(all)
}

fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec())).collect()
}

/// One entry as an attacker writes it: what the headers say need not be so.
#[derive(Clone)]
struct Raw {
    name: Vec<u8>,
    local_name: Option<Vec<u8>>,
    flags: u16,
    method: u16,
    data: Vec<u8>,
    size: u32,
    local_size: Option<u32>,
    crc: u32,
    host: u16,
    attributes: u32,
    extra: Vec<u8>,
    comment: Vec<u8>,
    offset: Option<u32>,
}

fn raw(name: &str, data: &[u8]) -> Raw {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    Raw {
        name: name.as_bytes().to_vec(),
        local_name: None,
        flags: FLAG_UTF8,
        method: STORED,
        data: data.to_vec(),
        size: u32::try_from(data.len()).unwrap(),
        local_size: None,
        crc: crc.sum(),
        host: HOST_UNIX,
        attributes: (REGULAR | 0o644) << 16,
        extra: vec![],
        comment: vec![],
        offset: None,
    }
}

fn deflated(name: &str, data: &[u8]) -> Raw {
    let mut packed = flate2::Compress::new(flate2::Compression::best(), false);
    let mut out = Vec::with_capacity(data.len() + 1024);
    packed.compress_vec(data, &mut out, flate2::FlushCompress::Finish).unwrap();
    Raw { method: DEFLATED, data: out, ..raw(name, data) }
}

struct Shape {
    before: Vec<u8>,
    between: Vec<u8>,
    behind: Vec<u8>,
    count: Option<u16>,
    disk: u16,
    comment: u16,
}

const PLAIN: Shape = Shape { before: vec![], between: vec![], behind: vec![], count: None, disk: 0, comment: 0 };

fn build(entries: &[Raw], shape: &Shape) -> Vec<u8> {
    let mut out = shape.before.clone();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = entry.offset.unwrap_or(u32::try_from(out.len()).unwrap());
        let headers = |size: u32, name: &[u8]| {
            let mut bytes = Vec::new();
            bytes.extend(VERSION_NEEDED.to_le_bytes());
            bytes.extend(entry.flags.to_le_bytes());
            bytes.extend(entry.method.to_le_bytes());
            bytes.extend([0, 0, 33, 0]);
            bytes.extend(entry.crc.to_le_bytes());
            bytes.extend(u32::try_from(entry.data.len()).unwrap().to_le_bytes());
            bytes.extend(size.to_le_bytes());
            bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend(u16::try_from(entry.extra.len()).unwrap().to_le_bytes());
            bytes
        };
        let local_name = entry.local_name.as_ref().unwrap_or(&entry.name);
        out.extend(LOCAL.to_le_bytes());
        out.extend(headers(entry.local_size.unwrap_or(entry.size), local_name));
        out.extend(local_name);
        out.extend(&entry.extra);
        out.extend(&entry.data);
        directory.extend(CENTRAL.to_le_bytes());
        directory.extend((entry.host << 8 | VERSION_NEEDED).to_le_bytes());
        directory.extend(headers(entry.size, &entry.name));
        directory.extend(u16::try_from(entry.comment.len()).unwrap().to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(entry.attributes.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
        directory.extend(&entry.extra);
        directory.extend(&entry.comment);
    }
    out.extend(&shape.between);
    let start = u32::try_from(out.len()).unwrap();
    out.extend(&directory);
    let count = shape.count.unwrap_or(u16::try_from(entries.len()).unwrap());
    out.extend(END.to_le_bytes());
    out.extend(shape.disk.to_le_bytes());
    out.extend([0, 0]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend(shape.comment.to_le_bytes());
    out.extend(&shape.behind);
    out
}

fn refused(what: &str, entries: &[Raw], shape: &Shape, words: &str) {
    match read_all(&build(entries, shape)) {
        Ok(files) => panic!("{what}: was read: {files:?}"),
        Err(error) => assert!(error.to_string().contains(words), "{what}: {error}"),
    }
}

fn entry_refused(what: &str, entry: Raw, words: &str) {
    refused(what, &[raw("first.py", b"x"), entry.clone()], &PLAIN, words);
    let shown = manta_types::name::printable(&String::from_utf8_lossy(&entry.name), 96);
    refused(what, &[entry], &PLAIN, &shown);
}

#[test]
fn what_we_write_reads_back_with_the_manifest_first() {
    let files = files(&[("worker.py", "def main(): ...\n"), ("lib/é.bin", "\0\u{1}"), ("empty", "")]);
    let read = read_all(&archive(&files)).unwrap();
    assert_eq!(read[0], (MANIFEST_FILE.to_owned(), manifest(&files).canonical_bytes()));
    assert_eq!(read[1..].iter().cloned().collect::<BTreeMap<_, _>>(), files);
}

#[test]
fn what_other_tools_write_is_read() {
    let folder = Raw { attributes: (FOLDER | 0o755) << 16 | 0x10, ..raw("lib/", b"") };
    let timed = Raw { extra: vec![0x55, 0x54, 5, 0, 3, 1, 2, 3, 4], ..raw("lib/a.py", b"a") };
    let dos = Raw { host: HOST_DOS, attributes: 0x20, ..deflated("b.py", &b"pass\n".repeat(9)) };
    let read = read_all(&build(&[folder, timed, dos], &PLAIN)).unwrap();
    assert_eq!(read, [("lib/a.py".to_owned(), b"a".to_vec()), ("b.py".to_owned(), b"pass\n".repeat(9))]);
}

#[test]
fn names_that_mean_another_place_or_nothing_are_refused() {
    for name in ["../x", "a/../../x", "a\\b", "c:x", "a//b", "./a", "a\0.py", "NUL", "a/com1.txt", "x. /y"] {
        entry_refused(name, raw(name, b"x"), "holds");
    }
}

#[test]
fn absolute_names_long_ones_and_deep_ones_are_refused() {
    entry_refused("absolute", raw("/etc/passwd", b"x"), "absolute");
    entry_refused("long", raw(&"x".repeat(241), b"x"), "too long");
    entry_refused("deep", raw(&format!("{}x", "d/".repeat(16)), b"x"), "too deep");
    entry_refused("no UTF-8 flag", Raw { flags: 0, ..raw("é.py", b"x") }, "not marked as UTF-8");
    entry_refused("no UTF-8", Raw { name: b"\xff.py".to_vec(), ..raw("x", b"x") }, "not marked as UTF-8");
}

#[test]
fn twins_are_refused() {
    let two = |one: &str, other: &str, words: &str| refused(one, &[raw(one, b"1"), raw(other, b"2")], &PLAIN, words);
    two("a.py", "a.py", "`a.py`");
    two("a.py", "A.PY", "`A.PY`");
    two("\u{e9}.py", "e\u{301}.py", "one file on some systems");
    two("lib", "lib/a.py", "one lies in the other");
    let folder = |name: &str| Raw { attributes: (FOLDER | 0o755) << 16, ..raw(name, b"") };
    refused("file and folder", &[raw("lib", b"x"), folder("LIB/")], &PLAIN, "`LIB`");
    refused("folder twice", &[folder("a/"), folder("a/")], &PLAIN, "`a`");
}

#[test]
fn links_devices_and_setuid_are_refused() {
    let mode = |mode: u32| Raw { attributes: mode << 16, ..raw("x", b"/etc/passwd") };
    entry_refused("link", mode(0o120_777), "link or a device");
    entry_refused("device", mode(0o020_666), "link or a device");
    entry_refused("setuid", mode(REGULAR | 0o4755), "setuid");
    entry_refused("folder by mode", mode(FOLDER | 0o755), "a folder by its mode");
    entry_refused(
        "folder by attribute",
        Raw { attributes: 0x10, host: HOST_DOS, ..raw("x", b"") },
        "by its attributes",
    );
    entry_refused("folder with content", Raw { attributes: 0, ..raw("x/", b"x") }, "has content");
    entry_refused("other system", Raw { host: 7, ..raw("x", b"x") }, "not known (7)");
}

#[test]
fn headers_that_disagree_are_refused() {
    entry_refused("name", Raw { local_name: Some(b"y".to_vec()), ..raw("x", b"x") }, "another name");
    entry_refused("size", Raw { local_size: Some(9), ..raw("x", b"x") }, "another size");
    entry_refused("encrypted", Raw { flags: 1, ..raw("x", b"x") }, "encrypted");
    entry_refused("descriptor", Raw { flags: 8, ..raw("x", b"x") }, "only behind its content");
    entry_refused("masked", Raw { flags: 1 << 13, ..raw("x", b"x") }, "not known");
    entry_refused("method", Raw { method: 93, ..raw("x", b"x") }, "method 93");
    entry_refused("comment", Raw { comment: b"c".to_vec(), ..raw("x", b"x") }, "comment");
    entry_refused("zip64", Raw { extra: vec![1, 0, 0, 0], ..raw("x", b"x") }, "second size or name");
    entry_refused("unicode path", Raw { extra: vec![0x75, 0x70, 0, 0], ..raw("x", b"x") }, "second size or name");
    entry_refused("extra cut off", Raw { extra: vec![9, 9, 200, 0], ..raw("x", b"x") }, "cut off");
    entry_refused("checksum", Raw { crc: 7, ..raw("x", b"x") }, "checksum");
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 10 << 20];
    entry_refused("ratio", deflated("x", &zeros), "100 times");
    let lying = Raw { size: 100, ..deflated("x", &zeros) };
    entry_refused("more than declared", lying, "more than the 100 bytes");
    let short = Raw { size: 5000, ..deflated("x", &(0..255).collect::<Vec<u8>>()) };
    entry_refused("less than declared", short, "declares 5000");
    let mut cut = deflated("x", b"hello hello hello hello");
    cut.data.truncate(4);
    entry_refused("cut off", cut, "cut off");
    let mut more = deflated("x", b"hello");
    more.data.extend(b"more");
    entry_refused("bytes behind", more, "bytes behind its compressed data");
    let one = raw("one", b"x");
    let overlapping = Raw { offset: Some(0), ..raw("two", b"y") };
    refused("overlap", &[one, overlapping], &PLAIN, "`two` does not follow");
}

#[test]
fn whatever_lies_outside_the_entries_is_refused() {
    let one = [raw("x", b"x")];
    let shape = |shape: Shape, words: &str| refused("shape", &one, &shape, words);
    shape(Shape { before: b"MZ".to_vec(), ..PLAIN }, "does not follow");
    shape(Shape { between: b"..".to_vec(), ..PLAIN }, "between its last entry");
    shape(Shape { behind: b"..".to_vec(), ..PLAIN }, "something behind");
    shape(Shape { comment: 2, behind: b"..".to_vec(), ..PLAIN }, "something behind");
    shape(Shape { disk: 1, ..PLAIN }, "one part of several");
    shape(Shape { count: Some(2), ..PLAIN }, "fewer entries");
    shape(Shape { count: Some(0), ..PLAIN }, "empty");
    shape(Shape { count: Some(u16::MAX), ..PLAIN }, "65535 entries or more");
    let (first, second) = (build(&one, &PLAIN), build(&[raw("evil", b"y")], &PLAIN));
    let both = [first, second].concat();
    assert!(read_all(&both).unwrap_err().to_string().contains("has something before"), "two archives in one");
    assert!(read_all(b"PK").unwrap_err().to_string().contains("too short"));
}

#[test]
fn a_file_with_the_manifests_name_is_not_written() {
    let files = files(&[("worker.py", "x"), ("manta.JSON", "{}")]);
    let failed = write(&mut Vec::new(), &manifest(&files), &[], of(files.values())).unwrap_err();
    assert!(failed.to_string().contains("`manta.JSON` has the name of the archive's own manifest"), "{failed}");
}

#[test]
fn locks_and_wheels_are_taken_along_each_once() {
    let files = files(&[("worker.py", "x")]);
    let (lock, wheel) = (b"lock".to_vec(), b"wheel".to_vec());
    let blob = |bytes: &[u8]| Blob { digest: digest_of(bytes), size: bytes.len() as u64 };
    let of_wheel = Wheel { digest: digest_of(&wheel), sha256: "0".repeat(64), size: wheel.len() as u64 };
    let locked = |python: &str| Locked {
        lock: blob(&lock),
        platform: "x86_64-manylinux_2_17".parse().unwrap(),
        python: python.parse().unwrap(),
        wheels: [("six-1.16.0-py3-none-any.whl".to_owned(), of_wheel.clone())].into(),
    };
    let manifest = BundleManifest { dependencies: vec![locked("3.11"), locked("3.12")], ..manifest(&files) };
    let (mut out, all) = (Vec::new(), [lock.clone(), wheel.clone(), b"x".to_vec()]);
    write(&mut out, &manifest, &[], of(all.iter())).unwrap();
    let mut read = read_all(&out).unwrap();
    assert_eq!(read.remove(0).0, MANIFEST_FILE);
    let mut packages = vec![
        (format!("{PACKAGES_FOLDER}/{}", digest_of(&lock)), lock),
        (format!("{PACKAGES_FOLDER}/{}", digest_of(&wheel)), wheel),
    ];
    packages.sort();
    assert_eq!(read, [packages, vec![("worker.py".to_owned(), b"x".to_vec())]].concat());
}

proptest! {
    /// The order in which files were found does not show, nor do times and modes, which are not asked for.
    #[test]
    fn the_same_files_give_the_same_bytes(
        // `aux`, `con` and their like are refused as names; none of them begins with an `f`.
        content in proptest::collection::btree_map("f[a-z]{0,7}", proptest::collection::vec(any::<u8>(), 0..64), 0..8),
        seed in any::<u64>(),
    ) {
        let mut files: Vec<(String, Vec<u8>)> = content.into_iter().collect();
        files.push(("worker.py".into(), b"def main(): ...".to_vec()));
        let first = archive(&files.iter().cloned().collect());
        let length = files.len();
        let pick = |n: usize| usize::try_from(seed >> 7).unwrap_or(0) % n;
        files.rotate_left(pick(length));
        files.swap(0, pick(length));
        prop_assert_eq!(first, archive(&files.into_iter().collect()));
    }

    /// One byte that is not as it was is noticed, or makes no difference to what is read.
    #[test]
    fn no_changed_byte_makes_another_archive(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let files = files(&[("worker.py", "def main(): ...\n"), ("lib/a.py", "A = 1\n")]);
        let good = archive(&files);
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= 1 << bit;
        if let Ok(read) = read_all(&bad) {
            prop_assert_eq!(read, read_all(&good).unwrap());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut bytes = bytes;
        let _ = read_all(&bytes);
        let at = bytes.len();
        bytes.extend(END.to_le_bytes());
        bytes.extend([0, 0, 0, 0, 1, 0, 1, 0]);
        bytes.extend(u32::try_from(at).unwrap().to_le_bytes());
        bytes.extend([0; 6]);
        let _ = read_all(&bytes);
    }
}

//! Chains that go on over files, cuts, damage and disks that refuse.
use super::*;

fn removed(dataset: &str) -> AuditEntry {
    AuditEntry::DatasetRemoved { dataset: dataset.to_owned() }
}

fn opened(path: &Path) -> (Chain, Option<SetAside>) {
    Chain::open(path, 1200, 1, |_| ()).unwrap()
}

fn add(chain: &mut Chain, dataset: &str) {
    chain.append(removed(dataset), 1, &BTreeMap::new()).unwrap();
}

fn sync(chain: &mut Chain) {
    if let Some(sync) = chain.begin_sync().unwrap() {
        chain.end_sync(&sync, sync.carry_out()).unwrap();
    }
}

/// An audit of files of some 600 bytes, with forty records.
fn full(path: &Path) -> Chain {
    let (mut chain, _) = opened(path);
    for number in 0..40 {
        chain.turn_over().unwrap();
        add(&mut chain, &format!("d{number}"));
    }
    chain
}

fn told(path: &Path) -> (Vec<u64>, Result<AuditHead, String>) {
    let mut seen = Vec::new();
    let read = read_audit(path, |record| seen.push(record.seq));
    (seen, read.map_err(|fault| fault.to_string()))
}

#[test]
fn a_full_audit_forgets_its_oldest_records_and_its_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let head = full(&path).head;
    let sizes = [&path, &older(&path)].map(|path| fs::metadata(path).unwrap().len());
    assert!(sizes.iter().sum::<u64>() < 2000, "{sizes:?}");
    let (seen, read) = told(&path);
    assert_eq!(read, Ok(head));
    assert!(seen[0] > 1 && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    let (mut chain, aside) = opened(&path);
    assert_eq!((chain.head, aside), (head, None));
    add(&mut chain, "last");
    assert!(told(&path).1.unwrap().seq > head.seq);
}

#[test]
fn an_agent_that_ended_between_two_files_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    for end_it in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "")] {
        let _ = (fs::remove_file(&path), fs::remove_file(older(&path)));
        full(&path);
        fs::rename(&path, older(&path)).unwrap();
        fs::write(&path, "").unwrap();
        end_it(&path).unwrap();
        let last = told(&path).1.unwrap();
        let (mut chain, aside) = opened(&path);
        assert_eq!(aside, None);
        add(&mut chain, "next");
        assert_eq!(told(&path).1.unwrap().seq, last.seq + 2, "one record says that it goes on");
    }
}

#[test]
fn a_file_that_was_changed_swapped_or_removed_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let changes: [fn(&Path) -> io::Result<()>; 4] = [
        |path| fs::remove_file(older(path)),
        |path| fs::copy(path, older(path)).map(drop),
        |path| fs::write(older(path), fs::read_to_string(older(path))?.replace("\"d", "\"e")),
        |path| fs::write(older(path), fs::read_to_string(older(path))?.trim_end()),
    ];
    for change in changes {
        let _ = (fs::remove_file(&path), fs::remove_file(older(&path)));
        full(&path);
        change(&path).unwrap();
        assert!(told(&path).1.unwrap_err().contains("is broken in line"));
    }
}

#[test]
fn a_broken_audit_is_set_aside_and_named_and_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut chain, _) = opened(&path);
    ["one", "two"].iter().for_each(|name| add(&mut chain, name));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("one", "six")).unwrap();
    assert!(told(&path).1.unwrap_err().contains("broken in line 1"));
    let (mut chain, aside) = opened(&path);
    assert!(fs::read_to_string(aside.unwrap().file).unwrap().contains("six"));
    add(&mut chain, "three");
    assert_eq!(told(&path), (vec![1], Ok(chain.head)));
}

#[test]
fn a_last_line_that_was_cut_anywhere_is_set_aside_alone_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut chain, _) = opened(&path);
    ["one", "two", "three"].iter().for_each(|name| add(&mut chain, name));
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let mut cuts: Vec<Vec<u8>> = (0..whole.len()).map(|at| whole[..at].to_vec()).collect();
    // A disk that made the file longer before it had what is in it.
    cuts.push([&whole[..ends[1]], &[0; 700]].concat());
    for cut in cuts {
        fs::write(&path, &cut).unwrap();
        let lines = cut.iter().filter(|byte| **byte == b'\n').count();
        let rest = &cut[lines.checked_sub(1).map_or(0, |last| ends[last])..];
        let (mut chain, aside) = opened(&path);
        assert_eq!(
            aside.as_ref().map(|aside| fs::read(&aside.file).unwrap()),
            (!rest.is_empty()).then(|| rest.to_vec())
        );
        assert!(aside.is_none_or(|aside| aside.why.contains(&format!("line {}: it is not whole", lines + 1))));
        add(&mut chain, "next");
        assert_eq!(told(&path), ((1..=lines as u64 + 1).collect(), Ok(chain.head)));
    }
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_anew_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut chain, _) = opened(&path);
    add(&mut chain, "one");
    sync(&mut chain);
    let synced = fs::read(&path).unwrap();
    add(&mut chain, "two");
    for lost in [synced.clone(), [synced.as_slice(), &[0; 20]].concat()] {
        let failing = chain.begin_sync().unwrap().unwrap();
        add(&mut chain, "meanwhile");
        fs::write(&path, lost).unwrap();
        chain.end_sync(&failing, Err(io::Error::from_raw_os_error(5))).unwrap_err();
        assert!(chain.is_synced(1) && !chain.is_synced(2));
    }
    sync(&mut chain);
    assert_eq!(told(&path), ((1..=4).collect(), Ok(chain.head)));
    assert!(chain.is_synced(4) && chain.begin_sync().unwrap().is_none());
}

#[test]
fn a_disk_that_never_syncs_is_not_written_to_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (mut chain, _) = Chain::open(&path, u64::MAX, 1, |_| ()).unwrap();
    let large = "d".repeat(NODE_AUDIT_UNSYNCED_BYTES_MAX / 4);
    (0..4).for_each(|_| add(&mut chain, &large));
    let refused = chain.append(removed("more"), 1, &BTreeMap::new()).unwrap_err();
    assert!(refused.to_string().contains("has not synced"), "{refused}");
    sync(&mut chain);
    add(&mut chain, "more");
    assert_eq!(told(&path), ((1..=5).collect(), Ok(chain.head)));
}

//! What is on disk after each step, and after each kind of damage.
use manta_api::node::AttemptFinished;
use manta_types::{Blob, SwarmId};

use super::*;
use crate::desk::{Attempt, Left};

type Damage<'a> = &'a dyn Fn(&Path);

struct Place {
    dir: tempfile::TempDir,
    journals: Journals,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("outbox");
        private_dir(&root).unwrap();
        Self { dir, journals: Journals::new(root) }
    }

    /// Writes the n-th journal, which keeps one value.
    fn write(&self, n: u128, how: Values) -> Journal {
        let content = format!("momentum {n}");
        let file = self.dir.path().join(format!("value-{n}"));
        fs::write(&file, &content).unwrap();
        let digest = Digest::from_bytes(*blake3::hash(content.as_bytes()).as_bytes());
        let journal = journal(n, Blob { digest, size: content.len() as u64 });
        self.journals.lay_out(&journal, &BTreeMap::from([(digest, file)]), how).unwrap();
        self.journals.name(id(n)).unwrap();
        journal
    }

    fn loaded(&self) -> Vec<Journal> {
        let loaded = self.journals.load().unwrap();
        assert_eq!(loaded.damaged, Vec::<String>::new());
        loaded.journals.iter().map(|journal| journal.as_ref().clone()).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.journals.root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn id(n: u128) -> AttemptId {
    AttemptId::from_uuid(uuid::Uuid::from_u128(n))
}

fn journal(n: u128, blob: Blob) -> Journal {
    let swarm = SwarmId::from_uuid(uuid::Uuid::from_u128(1));
    let (task, generation) = ("worker/[0]".to_owned(), Some(1));
    let attempt = Attempt { id: id(n), epoch: 3, swarm, state_of: swarm, task, iteration: 2, generation };
    let report = AttemptFinished { attempt: id(n).to_string(), epoch: 3, stop_swarm: true, ..<_>::default() };
    Journal { attempt, left: Left { report, state: BTreeMap::from([("momentum".to_owned(), blob)]) } }
}

#[test]
fn journals_come_back_as_they_were_written_and_outlive_the_cache() {
    let place = Place::new();
    let written = [place.write(2, Values::Linked), place.write(1, Values::Copied)];
    (1..=2).for_each(|n| fs::remove_file(place.dir.path().join(format!("value-{n}"))).unwrap());
    assert_eq!(place.loaded(), [written[1].clone(), written[0].clone()], "oldest first");
    let value = place.journals.place(id(1)).join(written[1].left.state["momentum"].digest.to_string());
    assert_eq!(fs::read(value).unwrap(), b"momentum 1");
}

#[test]
fn each_step_can_be_done_twice() {
    let place = Place::new();
    place.write(1, Values::Linked);
    let again = place.write(1, Values::Linked);
    assert_eq!(place.loaded(), [again]);
    for _ in 0..2 {
        place.journals.remove(id(1)).unwrap();
        assert_eq!(place.names(), Vec::<String>::new());
    }
    place.write(2, Values::Linked);
    for _ in 0..2 {
        let aside = place.journals.set_aside(id(2), 7).unwrap();
        assert_eq!(aside, place.journals.root.join("set-aside-7").join(id(2).to_string()));
        assert!(aside.join("journal").is_file());
    }
    assert_eq!((place.loaded(), place.names()), (vec![], vec!["set-aside-7".to_owned()]));
}

#[test]
fn what_was_cut_short_before_it_was_whole_or_while_it_was_removed_goes() {
    let place = Place::new();
    let kept = place.write(1, Values::Linked);
    for prefix in UNFINISHED {
        let left = place.journals.root.join(format!("{prefix}{}", id(2)));
        private_dir(&left).unwrap();
        fs::write(left.join("journal"), "half").unwrap();
    }
    assert_eq!(place.loaded(), [kept]);
    assert_eq!(place.names(), [id(1).to_string()]);
}

#[test]
fn a_damaged_journal_is_set_aside_and_named_and_the_others_are_read() {
    let truncate = |path: &Path| {
        let bytes = fs::read(path.join("journal")).unwrap();
        fs::write(path.join("journal"), &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path.join("journal")).unwrap();
        let at = bytes.len() - 9;
        bytes[at] ^= 1;
        fs::write(path.join("journal"), bytes).unwrap();
    };
    let empty = |path: &Path| fs::write(path.join("journal"), "").unwrap();
    let missing = |path: &Path| fs::remove_file(path.join("journal")).unwrap();
    let newer = |path: &Path| fs::write(path.join("journal"), "manta-journal 2 0\n{}").unwrap();
    let value = |path: &Path| {
        let value = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).find(|path| !path.ends_with("journal"));
        fs::write(value.unwrap(), "other").unwrap();
    };
    let cases: [(Damage<'_>, &str); 6] = [
        (&truncate, "does not have the digest"),
        (&flip, "does not have the digest"),
        (&empty, "its first line is cut"),
        (&missing, "No such file"),
        (&newer, "its first line does not begin with `manta-journal 1 `"),
        (&value, "the value of its state `momentum` has changed"),
    ];
    let place = Place::new();
    for (damage, words) in cases {
        let kept = place.write(1, Values::Copied);
        place.write(2, Values::Copied);
        damage(&place.journals.place(id(2)));
        let loaded = place.journals.load().unwrap();
        assert_eq!(*loaded.journals[0], kept);
        let [sentence] = loaded.damaged.as_slice() else { panic!("{:?}", loaded.damaged) };
        assert!(sentence.contains(words) && sentence.contains(&id(2).to_string()), "{sentence}");
    }
    assert_eq!(fs::read_dir(place.journals.root.join(DAMAGED)).unwrap().count(), cases.len(), "each is kept");
    place.write(1, Values::Linked);
    fs::rename(place.journals.place(id(1)), place.journals.place(id(3))).unwrap();
    let damaged = place.journals.load().unwrap().damaged;
    assert!(damaged[0].contains(&format!("it is the report of attempt `{}`", id(1))), "{damaged:?}");
}

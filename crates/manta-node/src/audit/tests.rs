//! What is counted of what left, and what of it outlives a restart, a full file and a cut.
use std::fs;

use super::*;

fn watched(budget: Option<u64>) -> Vec<Watched> {
    vec![Watched { dataset: "mnist".to_owned(), budget }]
}

fn opened(path: &Path) -> Arc<Audit> {
    Arc::new(Audit::open(path).unwrap())
}

#[test]
fn what_left_is_remembered_across_a_restart_and_bounded_by_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(AUDIT_FILE);
    let audit = opened(&path);
    audit.spend("at", &watched(Some(100)), "results", 60).unwrap();
    assert_eq!(audit.spend("at", &watched(Some(100)), "results", 41), Err(Kept::Budget("mnist".to_owned())));
    drop(audit);
    let audit = opened(&path);
    assert_eq!(audit.left_today("mnist"), 60);
    audit.spend("at", &watched(Some(100)), "report", 40).unwrap();
    assert!(audit.spend("at", &watched(Some(100)), "logs", 1).is_err());
    audit.spend("at", &watched(None), "logs", 1).unwrap();
    let mut kinds = Vec::new();
    let head = read_audit(&path, |record| kinds.push(record.entry.kind())).unwrap();
    assert_eq!((head.seq, kinds), (3, vec!["egress"; 3]));
}

#[tokio::test]
async fn a_log_is_set_aside_in_portions_and_the_rest_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let audit = opened(&dir.path().join(AUDIT_FILE));
    let meter = |budget| Meter::new(Arc::clone(&audit), "at".to_owned(), watched(budget));
    let free = meter(None);
    free.spend(10).await.unwrap();
    free.spend(20).await.unwrap();
    assert_eq!(audit.left_today("mnist"), PORTION_BYTES);
    drop(free);
    assert_eq!(audit.left_today("mnist"), 30);
    let bounded = meter(Some(100));
    bounded.spend(70).await.unwrap();
    assert_eq!(bounded.spend(1).await, Err(Kept::Budget("mnist".to_owned())));
    assert_eq!(audit.left_today("mnist"), 100);
}

#[tokio::test]
async fn what_a_budget_counts_is_on_the_disk_before_it_leaves_and_what_none_counts_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let audit = opened(&dir.path().join(AUDIT_FILE));
    let is_synced = |record| audit.inner().chain.is_synced(record);
    let free = audit.spend("at", &watched(None), "results", 1).unwrap();
    audit.settled(&watched(None), free).await.unwrap();
    assert!(!is_synced(free));
    let bounded = audit.spend("at", &watched(Some(100)), "results", 1).unwrap();
    audit.settled(&watched(Some(100)), bounded).await.unwrap();
    assert!(is_synced(bounded));
    let meter = Meter::new(Arc::clone(&audit), "at".to_owned(), watched(Some(100)));
    meter.spend(5).await.unwrap();
    assert!(is_synced(bounded + 1), "a line of a log waits for the portion that it is counted in");
}

#[tokio::test]
async fn what_left_today_is_known_when_the_records_that_it_was_counted_from_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(AUDIT_FILE);
    let audit = Arc::new(Audit::bounded(&path, 2000).unwrap());
    for _ in 0..60 {
        audit.spend("at", &watched(None), "results", 7).unwrap();
        audit.synced().await.unwrap();
    }
    drop(audit);
    let mut first = None;
    read_audit(&path, |record| first = first.or(Some(record.seq))).unwrap();
    assert!(first > Some(20), "the first records are forgotten: {first:?}");
    assert_eq!(opened(&path).left_today("mnist"), 420);
}

#[test]
fn what_left_today_is_known_when_its_records_were_set_aside_and_people_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(AUDIT_FILE);
    let damages: [fn(String) -> String; 2] =
        [|text| text.replace("report", "rep0rt"), |text| text[..text.len() - 9].to_owned()];
    for damage in damages {
        let audit = opened(&path);
        let before = audit.left_today("mnist");
        audit.spend("at", &watched(None), "results", 60).unwrap();
        audit.spend("at", &watched(None), "report", 5).unwrap();
        drop(audit);
        fs::write(&path, damage(fs::read_to_string(&path).unwrap())).unwrap();
        let notes: Vec<String> = opened(&path).notes().collect();
        assert!(notes[0].contains("was set aside in") && notes[0].contains("in line"), "{notes:?}");
        let again = opened(&path);
        assert_eq!((again.left_today("mnist"), again.notes().count()), (before + 60, 0));
    }
}

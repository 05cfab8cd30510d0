//! Standing still, so that another program can take this one's place: whoever is in the middle of something is waited for, and
//! then nobody begins anything until it is decided whether that other program comes.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// What is known of whether this program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// It stays.
    #[default]
    Working,
    /// It was asked to; everybody stands still as soon as they can.
    Asked,
    /// It goes: nothing is begun any more.
    Parted,
}

/// Who is busy, and whether they shall stand still.
#[derive(Debug, Default)]
pub(crate) struct Parting {
    stage: watch::Sender<Stage>,
    busy: watch::Sender<usize>,
}

/// Something that is not interrupted; it stands still where it says so.
#[derive(Debug)]
pub(crate) struct Busy {
    parting: Arc<Parting>,
}

impl Parting {
    /// Begins something, once nobody is asked to stand still; nothing where this program goes.
    pub(crate) async fn begin(self: &Arc<Self>) -> Option<Busy> {
        let mut stage = self.stage.subscribe();
        loop {
            // Counted first, so that whoever asks meanwhile sees it.
            let busy = self.join();
            match *stage.borrow_and_update() {
                Stage::Working => return Some(busy),
                Stage::Parted => return None,
                Stage::Asked => drop(busy),
            }
            stage.changed().await.expect("the sender lives as long as `self`");
        }
    }

    /// Asks everybody to stand still, and waits until they do, at most so long; whether they do. Else all go on.
    pub(crate) async fn ask(&self, limit: Duration) -> bool {
        self.stage.send_replace(Stage::Asked);
        let mut busy = self.busy.subscribe();
        let still = timeout(limit, busy.wait_for(|busy| *busy == 0)).await.is_ok();
        if !still {
            self.go_on();
        }
        still
    }

    /// Lets everybody go on.
    pub(crate) fn go_on(&self) {
        self.stage.send_replace(Stage::Working);
    }

    /// Decides that this program goes, if everybody still stands still; whether it does.
    pub(crate) fn decide(&self) -> bool {
        let still = *self.busy.borrow() == 0;
        self.stage.send_replace(if still { Stage::Parted } else { Stage::Working });
        still
    }

    /// Resolves when it is decided that this program goes.
    pub(crate) async fn decided(&self) {
        let mut stage = self.stage.subscribe();
        stage.wait_for(|stage| *stage == Stage::Parted).await.expect("the sender lives as long as `self`");
    }

    /// Whether it is decided that this program goes.
    pub(crate) fn is_decided(&self) -> bool {
        *self.stage.borrow() == Stage::Parted
    }

    fn join(self: &Arc<Self>) -> Busy {
        self.busy.send_modify(|busy| *busy += 1);
        Busy { parting: Arc::clone(self) }
    }
}

impl Busy {
    /// Another who is busy beside this one.
    pub(crate) fn beside(&self) -> Self {
        self.parting.join()
    }

    /// Resolves when all are asked to stand still.
    pub(crate) async fn asked(&self) {
        let mut stage = self.parting.stage.subscribe();
        stage.wait_for(|stage| *stage != Stage::Working).await.expect("the sender lives as long as `self`");
    }

    /// Stands still until it is decided; whether this program goes.
    pub(crate) async fn stand_still(&self) -> bool {
        let _still = Still::new(&self.parting);
        let mut stage = self.parting.stage.subscribe();
        let decided = stage.wait_for(|stage| *stage != Stage::Asked).await.expect("the sender lives as long as `self`");
        *decided == Stage::Parted
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.parting.busy.send_modify(|busy| *busy -= 1);
    }
}

/// One who is busy and stands still; however that ends, it counts again.
struct Still<'a>(&'a Parting);

impl<'a> Still<'a> {
    fn new(parting: &'a Parting) -> Self {
        parting.busy.send_modify(|busy| *busy -= 1);
        Self(parting)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| *busy += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_is_waited_for_and_who_comes_later_waits() {
        let parting = Arc::<Parting>::default();
        let busy = parting.begin().await.unwrap();
        assert!(!parting.ask(SHORT).await, "it never stood still");
        let still = async {
            busy.asked().await;
            busy.stand_still().await
        };
        let late = async {
            busy.asked().await;
            parting.begin().await.is_some()
        };
        let decide = async {
            let still = parting.ask(SHORT).await;
            parting.go_on();
            still
        };
        assert_eq!(tokio::join!(still, late, decide), (false, true, true));
    }

    #[tokio::test]
    async fn once_it_is_decided_nothing_begins() {
        let parting = Arc::<Parting>::default();
        assert!(parting.ask(SHORT).await && parting.decide() && parting.is_decided());
        assert!(parting.begin().await.is_none());
    }

    #[tokio::test]
    async fn who_was_woken_between_question_and_decision_is_not_left_behind() {
        let parting = Arc::<Parting>::default();
        let busy = parting.begin().await.unwrap();
        let mut still = Box::pin(busy.stand_still());
        parting.stage.send_replace(Stage::Asked);
        assert!(timeout(SHORT, &mut still).await.is_err() && parting.ask(SHORT).await);
        drop(still);
        assert!(!parting.decide() && !parting.is_decided(), "its task ended meanwhile");
    }
}

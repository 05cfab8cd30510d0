//! How good the connection to the manager is, told by its heartbeats and by what was carried over it.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Heartbeats that the share of lost ones is taken over.
const HEARTBEATS_REMEMBERED: usize = 32;
/// Weight of a new measurement in the smoothed one.
const SMOOTHING: f64 = 0.25;
/// The round trip at which the quality is halved.
const ROUND_TRIP_HALF: Duration = Duration::from_millis(100);
/// The throughput, in bytes a second, at which the quality is halved.
const THROUGHPUT_HALF: f64 = (1u64 << 20) as f64;
/// What is smaller tells of the round trip, not of the throughput.
const TELLING_BYTES: u64 = 256 << 10;

/// How fast values and bundles travel between this node and its manager, as measured.
#[derive(Debug, Default)]
pub(crate) struct Throughput(Mutex<Option<f64>>);

impl Throughput {
    /// Notes that so many bytes went one way or the other, and how long it took.
    pub(crate) fn carried(&self, size: u64, took: Duration) {
        if size < TELLING_BYTES || took.is_zero() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let rate = size as f64 / took.as_secs_f64();
        let mut smoothed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *smoothed = Some(smoothed.map_or(rate, |old| old + SMOOTHING * (rate - old)));
    }

    /// 1 is boundless, and what is taken where nothing was measured yet.
    fn factor(&self) -> f64 {
        let smoothed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        smoothed.map_or(1.0, |rate| rate / (rate + THROUGHPUT_HALF))
    }
}

/// The connection to the manager, as measured.
#[derive(Debug)]
pub(crate) struct Link {
    beats: Mutex<Beats>,
    /// When the manager was heard last.
    heard: Mutex<Instant>,
    cut_since: watch::Sender<Option<Instant>>,
    /// Why there is no session.
    problem: Mutex<Option<String>>,
    throughput: Arc<Throughput>,
}

#[derive(Debug, Default)]
struct Beats {
    recent: VecDeque<Beat>,
    round_trip_s: Option<f64>,
}

#[derive(Debug)]
struct Beat {
    count: u64,
    sent: Instant,
    answered: bool,
}

impl Link {
    /// A link that has yet to be made, and what is noted of its throughput. There was none for that long already.
    pub(crate) fn new(throughput: Arc<Throughput>, cut_for: Duration) -> Self {
        Self {
            beats: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            cut_since: watch::Sender::new(Some(Instant::now().checked_sub(cut_for).unwrap_or_else(Instant::now))),
            problem: Mutex::default(),
            throughput,
        }
    }

    /// Notes why there is no session; nothing more once there is one.
    pub(crate) fn fails(&self, why: &str) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Why there is no session, where there is none.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a heartbeat on its way; counts rise within a session.
    pub(crate) fn sent(&self, count: u64) {
        let mut beats = self.beats();
        if beats.recent.len() == HEARTBEATS_REMEMBERED {
            beats.recent.pop_front();
        }
        beats.recent.push_back(Beat { count, sent: Instant::now(), answered: false });
    }

    /// Notes the answer to a heartbeat of this session.
    pub(crate) fn answered(&self, count: u64) {
        let mut beats = self.beats();
        let Some(beat) = beats.recent.iter_mut().rev().find(|beat| beat.count == count && !beat.answered) else {
            return;
        };
        beat.answered = true;
        let seconds = beat.sent.elapsed().as_secs_f64();
        let smoothed = beats.round_trip_s.map_or(seconds, |old| old + SMOOTHING * (seconds - old));
        beats.round_trip_s = Some(smoothed);
    }

    /// Notes that the manager was heard.
    pub(crate) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Notes that a session began.
    pub(crate) fn connected(&self) {
        self.heard();
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.cut_since.send_replace(None);
    }

    /// Notes that the session ended. It was cut off since the manager was heard last: a connection that died silently is
    /// only noticed later.
    pub(crate) fn cut(&self) {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        self.cut_since.send_modify(|since| *since = since.or(Some(heard)));
    }

    /// How long there has been no session.
    pub(crate) fn cut_so_far(&self) -> Duration {
        self.cut_since.borrow().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether there is a session.
    pub(crate) fn is_connected(&self) -> bool {
        self.cut_since.borrow().is_none()
    }

    /// In [0, 1]: `(1 − loss) / (1 + round trip / 100 ms) × throughput / (throughput + 1 MiB/s)`, where loss is the share
    /// of the last 32 heartbeats that were not answered (the one under way apart), round trip and throughput are smoothed,
    /// and the last factor is 1 until something of 256 KiB or more was carried; 0 while there is no session.
    pub(crate) fn quality(&self) -> f64 {
        if !self.is_connected() {
            return 0.0;
        }
        let beats = self.beats();
        let judged = beats.recent.iter().filter(|beat| beat.answered || beat.sent.elapsed() > Duration::from_secs(1));
        let (total, lost) = judged.fold((0u32, 0u32), |(all, lost), beat| (all + 1, lost + u32::from(!beat.answered)));
        let loss = if total == 0 { 0.0 } else { f64::from(lost) / f64::from(total) };
        let round_trip = beats.round_trip_s.unwrap_or(0.0);
        (1.0 - loss) / (1.0 + round_trip / ROUND_TRIP_HALF.as_secs_f64()) * self.throughput.factor()
    }

    /// Resolves when there has been no session for that long; never where no time is given.
    pub(crate) async fn cut_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut changes = self.cut_since.subscribe();
        loop {
            let since = *changes.borrow_and_update();
            let changed = match since {
                None => changes.changed().await,
                Some(since) => tokio::select! {
                    () = tokio::time::sleep_until(since + limit) => return,
                    changed = changes.changed() => changed,
                },
            };
            changed.expect("the sender lives as long as `self`");
        }
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quality_falls_with_the_round_trip_and_with_loss() {
        let link = Link::new(Arc::default(), Duration::ZERO);
        assert!(link.quality() == 0.0);
        link.connected();
        link.sent(1);
        tokio::time::advance(Duration::from_millis(100)).await;
        link.answered(1);
        assert!((link.quality() - 0.5).abs() < 0.01, "{}", link.quality());
        link.sent(2);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!((link.quality() - 0.25).abs() < 0.01, "{}", link.quality());
        link.cut();
        assert!(link.quality() == 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn quality_falls_with_the_throughput_of_what_is_large_enough_to_tell() {
        let throughput = Arc::<Throughput>::default();
        let link = Link::new(Arc::clone(&throughput), Duration::ZERO);
        link.connected();
        throughput.carried(1000, Duration::from_secs(1));
        assert!((link.quality() - 1.0).abs() < 1e-9, "a small value tells nothing");
        throughput.carried(2 << 20, Duration::from_secs(2));
        assert!((link.quality() - 0.5).abs() < 1e-9, "{}", link.quality());
        throughput.carried(5 << 20, Duration::from_secs(1));
        assert!((link.quality() - 2.0 / 3.0).abs() < 1e-9, "a quarter of the new rate counts: {}", link.quality());
    }

    #[tokio::test(start_paused = true)]
    async fn being_cut_counts_from_the_last_word_and_a_new_session_resets_it() {
        let link = Link::new(Arc::default(), Duration::ZERO);
        link.connected();
        let long = link.cut_for(Some(Duration::from_secs(10)));
        tokio::pin!(long);
        link.cut();
        assert!(tokio::time::timeout(Duration::from_secs(9), &mut long).await.is_err());
        link.connected();
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut long).await.is_err());
        link.heard();
        tokio::time::advance(Duration::from_secs(6)).await;
        link.cut();
        assert!(tokio::time::timeout(Duration::from_secs(3), &mut long).await.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(2), &mut long).await.is_ok(), "silence counts before the cut");
    }
}

//! A swarm at any point of its history, rebuilt from its events alone, and the chain of causes that led to an event.
use std::sync::Arc;

use manta_types::{Cause, Event, SwarmId, SwarmSpec, Timestamp};

use crate::swarm::{SwarmRun, count};
use crate::{Link, RestoreError, describe};

/// Links of a chain of causes; what lies further back is not told.
const LINKS_MAX: usize = 20;

impl SwarmRun {
    /// A swarm as it was before its first event.
    pub fn before_history(id: SwarmId, spec: Arc<SwarmSpec>, created_ms: u64) -> Self {
        Self::new(id, spec, created_ms)
    }

    /// Goes on by the next event of its history; its waits are anchored to the wall clock that the event names.
    ///
    /// # Errors
    /// When the event is another swarm's or not the next one.
    pub fn follow(&mut self, event: &Event) -> Result<(), RestoreError> {
        RestoreError::unless_next(self, event)?;
        self.apply(event, Timestamp::from_ms(event.time_ms));
        Ok(())
    }
}

/// The events that led to the last of `history`, latest first, each followed to what it follows from.
///
/// `history` is the end of a swarm's history, without gaps. Events of one kind that follow from one another, as the
/// cancellations of many attempts, are one link.
pub fn chain(spec: &SwarmSpec, history: &[Event]) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let (mut kind, mut alike) = ("", 0);
    let mut next = history.last();
    while let Some(event) = next {
        if kind == event.what.kind()
            && let Some(last) = links.last_mut()
        {
            alike += 1;
            last.cause = event.cause.to_string();
        } else if links.len() == LINKS_MAX {
            break;
        } else {
            links.last_mut().into_iter().for_each(|last| fold(last, alike));
            (kind, alike) = (event.what.kind(), 0);
            let message = describe(spec, event).message;
            links.push(Link { seq: event.seq, time_ms: event.time_ms, message, cause: event.cause.to_string() });
        }
        next = match &event.cause {
            Cause::Event { seq } => earlier(history, event, *seq),
            _ => None,
        };
    }
    links.last_mut().into_iter().for_each(|last| fold(last, alike));
    links
}

/// Says that a link stands for further events of its kind.
fn fold(link: &mut Link, alike: usize) {
    if alike > 0 {
        link.message += &format!(" (and {} like it before)", count(alike, "event"));
    }
}

/// The event of that sequence, where it is known and really came before.
fn earlier<'a>(history: &'a [Event], event: &Event, seq: u64) -> Option<&'a Event> {
    let first = history.first()?.seq;
    let position = usize::try_from(seq.checked_sub(first)?).ok()?;
    history.get(position).filter(|cause| cause.seq < event.seq)
}

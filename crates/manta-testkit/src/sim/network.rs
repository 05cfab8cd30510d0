//! The network: sessions whose messages stay in order and go with them, requests that may be lost, and partitions.
use super::World;
use super::happening::{Answer, Asked, AtManager, AtNode, Happening, LinkId, Requester, Said, Told};

/// How long a side takes to find that a connection ended whose other side is silent about it.
const HALF_OPEN_MS: u64 = 12_000;

/// A connection between a node and the manager.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: usize,
    /// Of the agent that dialled.
    pub(crate) life: u64,
    /// Of the manager that was dialled.
    pub(crate) run: u64,
    /// Whether the node's end is there.
    pub(crate) node_end: bool,
    /// Whether the manager has welcomed it and not ended it.
    pub(crate) manager_end: bool,
    /// Whether the manager has found that it ended.
    pub(crate) is_gone: bool,
    /// Whether nothing passes any more, though perhaps neither side knows.
    pub(crate) is_broken: bool,
    up_last: u64,
    down_last: u64,
}

impl World {
    /// Makes a connection to the manager that runs now.
    pub(crate) fn dial(&mut self, node: usize) -> LinkId {
        self.links_made += 1;
        let (life, run) = (self.nodes[node].life, self.manager.run);
        let (node_end, manager_end, is_gone, is_broken) = (true, false, false, false);
        let link = Link { node, life, run, node_end, manager_end, is_gone, is_broken, up_last: 0, down_last: 0 };
        self.links.insert(self.links_made, link);
        self.links_made
    }

    fn delay(&mut self) -> u64 {
        if self.chance.permille(self.options.late) {
            self.chance.between(500, 8_000)
        } else {
            self.chance.between(0, 30)
        }
    }

    /// A node says something in its session.
    pub(crate) fn say(&mut self, link: LinkId, said: Said) {
        let delay = self.delay();
        let doubled = !matches!(said, Said::Hello { .. } | Said::Goodbye) && self.chance.permille(self.options.doubled);
        let Some(known) = self.links.get_mut(&link).filter(|known| known.node_end) else { return };
        known.up_last = known.up_last.max(self.now + delay);
        let (at, run) = (known.up_last, known.run);
        for said in doubled.then(|| said.clone()).into_iter().chain([said]) {
            self.agenda.put(at, Happening::Manager(run, AtManager::Said(link, said)));
        }
    }

    /// The manager says something in a node's session.
    pub(crate) fn tell(&mut self, link: LinkId, told: Told) {
        let delay = self.delay();
        let Some(known) = self.links.get_mut(&link).filter(|known| !known.is_gone) else { return };
        known.down_last = known.down_last.max(self.now + delay);
        let (at, node, life) = (known.down_last, known.node, known.life);
        self.agenda.put(at, Happening::Node(node, life, AtNode::Told(link, told)));
    }

    /// A node asks over HTTP; whoever asks asks again when no answer comes.
    pub(crate) fn ask(&mut self, node: usize, asked: Asked) {
        let at = self.now + self.delay();
        if self.now >= self.nodes[node].up_blocked {
            self.agenda.put(at, Happening::Manager(self.manager.run, AtManager::Asked(asked)));
        }
    }

    /// The manager answers an attempt's request, unless the attempt is of a history that was undone.
    pub(crate) fn answer(&mut self, asker: Requester, answer: Answer) {
        let Requester { node, life, generation, .. } = asker;
        let is_undone = generation != Some(self.disk.generation);
        let at = self.now + self.delay();
        if self.now >= self.nodes[node].down_blocked && !is_undone {
            self.agenda.put(at, Happening::Node(node, life, AtNode::Answered(asker, answer)));
        }
    }

    /// The node's end of a connection goes; the manager finds out at once, or when it has been silent for long.
    pub(crate) fn hang_up(&mut self, link: LinkId, silently: bool) {
        let at = self.now + if silently { HALF_OPEN_MS } else { self.chance.between(0, 50) };
        let Some(known) = self.links.get_mut(&link).filter(|known| known.node_end) else { return };
        known.node_end = false;
        // What was said before arrives before the end.
        let at = if silently { at } else { known.up_last.max(at) };
        let run = known.run;
        self.agenda.put(at, Happening::Manager(run, AtManager::Noticed(link)));
    }

    /// The manager's end of a connection goes.
    pub(crate) fn end_session(&mut self, link: LinkId) {
        let after = self.chance.between(0, 50);
        let Some(known) = self.links.get_mut(&link) else { return };
        (known.manager_end, known.is_gone) = (false, true);
        let (at, node, life) = (known.down_last.max(self.now + after), known.node, known.life);
        self.agenda.put(at, Happening::Node(node, life, AtNode::Closed(link)));
    }

    /// A connection breaks in the middle: what is under way in it is lost, and each side finds out by itself.
    pub(crate) fn break_link(&mut self, link: LinkId) {
        let (manager_sees, node_sees) = (self.chance.one_in(2), self.chance.one_in(2));
        let Some(known) = self.links.get_mut(&link) else { return };
        known.is_broken = true;
        let (node, life, run) = (known.node, known.life, known.run);
        let soon = |sees| if sees { 20 } else { HALF_OPEN_MS };
        self.agenda.put(self.now + soon(manager_sees), Happening::Manager(run, AtManager::Noticed(link)));
        self.agenda.put(self.now + soon(node_sees), Happening::Node(node, life, AtNode::Closed(link)));
    }

    /// What happens to a node's messages now: the instant until which they wait, if they do.
    pub(crate) fn blocked_up(&self, at: &AtManager) -> Option<u64> {
        let (AtManager::Said(link, _) | AtManager::Noticed(link)) = at else { return None };
        let until = self.nodes[self.links.get(link)?.node].up_blocked;
        (self.now < until).then_some(until)
    }

    /// The same, for messages to the node.
    pub(crate) fn blocked_down(&self, node: usize, at: &AtNode) -> Option<u64> {
        let until = self.nodes[node].down_blocked;
        (matches!(at, AtNode::Told(..) | AtNode::Closed(_)) && self.now < until).then_some(until)
    }
}

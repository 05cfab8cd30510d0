//! What a seed decides before its run begins: how large the cluster is, and which troubles it meets.
use std::fmt;

use super::chance::Chance;

/// The troubles of a run. Half of them are left out of each run, so that every combination comes up; what is 0 never
/// happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Nodes of the cluster.
    pub nodes: u64,
    /// Swarms that users submit.
    pub swarms: u64,
    /// How long troubles last, in virtual ms; afterwards all is healed.
    pub trouble_ms: u64,
    /// The manager dies at one in so many of the points between its steps.
    pub manager_crash: u64,
    /// A node dies at one in so many of the points between its steps.
    pub node_crash: u64,
    /// A node says goodbye, about every so many ms.
    pub goodbye: u64,
    /// A connection breaks, about every so many ms.
    pub cut: u64,
    /// A node is partitioned from the manager in one direction or both, about every so many ms.
    pub partition: u64,
    /// Messages of a thousand that are late by seconds.
    pub late: u64,
    /// Messages to the manager of a thousand that arrive twice.
    pub doubled: u64,
    /// The manager stands still, about every so many ms.
    pub manager_stall: u64,
    /// A node's agent stands still, about every so many ms.
    pub node_stall: u64,
    /// A wall clock jumps, about every so many ms.
    pub clock: u64,
    /// Commits of a thousand that take seconds.
    pub slow_disk: u64,
    /// Commits of a thousand that fail.
    pub failing_disk: u64,
    /// The manager's disk is full for some seconds, about every so many ms.
    pub full_disk: u64,
    /// Reads of a starting manager of a thousand that fail or find what cannot be read.
    pub corrupt_read: u64,
    /// Orders to a node's disk of a thousand that are refused.
    pub node_disk: u64,
    /// Attempts of a thousand whose user code fails.
    pub user_error: u64,
    /// A user changes their mind, about every so many ms: pauses, resumes, stops, drains.
    pub people: u64,
    /// The manager's disk has too little space for what can wait, about every so many ms.
    pub low_water: u64,
    /// A backup is made, or the last one brought back, about every so many ms.
    pub restore: u64,
    /// Swarms that have ended are purged, about every so many ms.
    pub purge: u64,
    /// A node, always the same one, is revoked, about every so many ms.
    pub revoke: u64,
    /// How often a user lets their swarm go on after it failed.
    pub retries: u64,
    /// Somebody starts a rollout, or changes one, about every so many ms; swarms have more iterations then.
    pub rollouts: u64,
}

impl Options {
    /// A cluster without trouble.
    pub const QUIET: Self = Self {
        nodes: 4,
        swarms: 2,
        trouble_ms: 0,
        manager_crash: 0,
        node_crash: 0,
        goodbye: 0,
        cut: 0,
        partition: 0,
        late: 0,
        doubled: 0,
        manager_stall: 0,
        node_stall: 0,
        clock: 0,
        slow_disk: 0,
        failing_disk: 0,
        full_disk: 0,
        corrupt_read: 0,
        node_disk: 0,
        user_error: 0,
        people: 0,
        low_water: 0,
        restore: 0,
        purge: 0,
        revoke: 0,
        retries: 0,
        rollouts: 0,
    };

    /// What the seed decides.
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed.rotate_left(32) ^ 0x6f70_7469_6f6e_7321);
        let chance = &mut chance;
        let (nodes, swarms) = (chance.between(3, 9), chance.between(1, 5));
        let trouble_ms = chance.between(20_000, 120_000);
        let base = Self { nodes, swarms, trouble_ms, ..Self::QUIET };
        if chance.one_in(8) {
            // Nothing but the manager is at fault, so no node may be taken for lost.
            return Self {
                manager_stall: chance.between(5_000, 30_000),
                slow_disk: maybe(chance, &[20, 100, 300]),
                manager_crash: maybe(chance, &[500, 2_000]),
                clock: maybe(chance, &[10_000, 30_000]),
                user_error: maybe(chance, &[30, 150]),
                low_water: maybe(chance, &[15_000, 40_000]),
                purge: maybe(chance, &[4_000, 15_000]),
                retries: maybe(chance, &[1, 3]),
                rollouts: if chance.one_in(2) { chance.pick(&[1_500, 5_000]) } else { 0 },
                ..base
            };
        }
        Self {
            manager_crash: maybe(chance, &[60, 200, 800]),
            node_crash: maybe(chance, &[60, 200, 800]),
            goodbye: maybe(chance, &[20_000, 60_000]),
            cut: maybe(chance, &[2_000, 8_000, 20_000]),
            partition: maybe(chance, &[5_000, 15_000, 40_000]),
            late: maybe(chance, &[10, 50, 200]),
            doubled: maybe(chance, &[10, 50, 200]),
            manager_stall: maybe(chance, &[8_000, 20_000, 60_000]),
            node_stall: maybe(chance, &[8_000, 20_000, 60_000]),
            clock: maybe(chance, &[5_000, 30_000]),
            slow_disk: maybe(chance, &[10, 50, 200]),
            failing_disk: maybe(chance, &[2, 10, 30]),
            full_disk: maybe(chance, &[20_000, 60_000]),
            corrupt_read: maybe(chance, &[50, 300]),
            node_disk: maybe(chance, &[10, 50, 200]),
            user_error: maybe(chance, &[30, 150, 400]),
            people: maybe(chance, &[3_000, 10_000, 30_000]),
            low_water: maybe(chance, &[15_000, 40_000]),
            restore: maybe(chance, &[12_000, 30_000]),
            purge: maybe(chance, &[4_000, 15_000]),
            revoke: maybe(chance, &[15_000, 60_000]),
            retries: maybe(chance, &[1, 3]),
            rollouts: if chance.one_in(2) { chance.pick(&[1_500, 5_000, 15_000]) } else { 0 },
            ..base
        }
    }

    /// Whether every node is well all the time, so that none may be taken for lost.
    pub(crate) const fn nodes_are_well(&self) -> bool {
        self.node_crash == 0
            && self.goodbye == 0
            && self.cut == 0
            && self.partition == 0
            && self.late == 0
            && self.node_stall == 0
            && self.people == 0
            && self.full_disk == 0
            && self.failing_disk == 0
            && self.restore == 0
            && self.revoke == 0
    }
}

/// Nothing, or one of the values.
fn maybe(chance: &mut Chance, values: &[u64]) -> u64 {
    if chance.one_in(2) { 0 } else { chance.pick(values) }
}

impl fmt::Display for Options {
    /// Everything that is not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, swarms, trouble_ms, .. } = self;
        write!(f, "nodes={nodes} swarms={swarms} trouble_ms={trouble_ms}")?;
        let troubles = [
            ("manager_crash", self.manager_crash),
            ("node_crash", self.node_crash),
            ("goodbye", self.goodbye),
            ("cut", self.cut),
            ("partition", self.partition),
            ("late", self.late),
            ("doubled", self.doubled),
            ("manager_stall", self.manager_stall),
            ("node_stall", self.node_stall),
            ("clock", self.clock),
            ("slow_disk", self.slow_disk),
            ("failing_disk", self.failing_disk),
            ("full_disk", self.full_disk),
            ("corrupt_read", self.corrupt_read),
            ("node_disk", self.node_disk),
            ("user_error", self.user_error),
            ("people", self.people),
            ("low_water", self.low_water),
            ("restore", self.restore),
            ("purge", self.purge),
            ("revoke", self.revoke),
            ("retries", self.retries),
            ("rollouts", self.rollouts),
        ];
        troubles.iter().filter(|(_, value)| *value > 0).try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

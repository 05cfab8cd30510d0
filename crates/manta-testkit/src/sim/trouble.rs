//! Troubles that come up by themselves, each about as often as the options say.
use super::World;
use super::happening::{Happening, Trouble};
use super::options::Options;

impl World {
    /// The first of each trouble.
    pub(crate) fn expect_troubles(&mut self) {
        use Trouble as T;
        let first = [T::Goodbye, T::Cut, T::Partition, T::ManagerStall, T::NodeStall, T::Clock, T::FullDisk, T::People];
        for trouble in first.into_iter().chain([T::LowWater, T::Restore, T::Purge, T::Revoke, T::Rollout]) {
            self.expect(trouble);
        }
        self.agenda.put(self.options.trouble_ms, Happening::Heal);
    }

    fn expect(&mut self, trouble: Trouble) {
        let Options { goodbye, cut, partition, manager_stall, node_stall, clock, full_disk, people, .. } = self.options;
        let Options { low_water, restore, purge, revoke, rollouts, .. } = self.options;
        let mean = match trouble {
            Trouble::Goodbye => goodbye,
            Trouble::Cut => cut,
            Trouble::Partition => partition,
            Trouble::ManagerStall => manager_stall,
            Trouble::NodeStall => node_stall,
            Trouble::Clock => clock,
            Trouble::FullDisk => full_disk,
            Trouble::People => people,
            Trouble::LowWater => low_water,
            Trouble::Restore => restore,
            Trouble::Purge => purge,
            Trouble::Revoke => revoke,
            Trouble::Rollout => rollouts,
        };
        if mean > 0 {
            let after = self.chance.about(mean);
            self.agenda.put(self.now + after, Happening::Trouble(trouble));
        }
    }

    /// A trouble comes up, and will again.
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        if self.is_healed {
            return;
        }
        self.expect(trouble);
        let (node, now) = (self.chance.index(self.nodes.len()), self.now);
        match trouble {
            Trouble::Goodbye => self.part(node),
            Trouble::Cut => self.cut(node),
            Trouble::Partition => {
                let until = now + self.chance.between(1_000, 40_000);
                let (up, down) = self.chance.pick(&[(until, 0), (0, until), (until, until), (until, until)]);
                let known = &mut self.nodes[node];
                (known.up_blocked, known.down_blocked) = (known.up_blocked.max(up), known.down_blocked.max(down));
                self.trace.line(now, || format!("{} is partitioned until {until}", self.nodes[node].name));
            }
            Trouble::ManagerStall => {
                let until = now + self.chance.pick(&[300, 1_500, 3_500, 4_500, 8_000, 30_000]);
                self.manager.stalled_until = until.max(self.manager.stalled_until);
                self.trace.line(now, || format!("the manager stands still until {until}"));
            }
            Trouble::NodeStall => {
                let until = now + self.chance.pick(&[500, 3_000, 7_000, 25_000]);
                self.nodes[node].stalled_until = until.max(self.nodes[node].stalled_until);
                self.trace.line(now, || format!("{} stands still until {until}", self.nodes[node].name));
            }
            Trouble::Clock => {
                let by = self.chance.pick(&[3_600_000, 86_400_000 * 3_650, 7_000]);
                let error = self.manager.wall_error;
                self.manager.wall_error =
                    if self.chance.one_in(2) { error.wrapping_add(by) } else { error.wrapping_sub(by) };
                self.trace.line(now, || "the manager's wall clock jumps".to_owned());
            }
            Trouble::FullDisk => {
                self.disk.full_until = now + self.chance.between(1_000, 10_000);
                self.trace.line(now, || "the manager's disk is full".to_owned());
            }
            Trouble::People => self.meddle(),
            Trouble::LowWater => {
                self.disk.low_until = now + self.chance.between(2_000, 15_000);
                self.trace.line(now, || "the manager's disk has little space".to_owned());
            }
            Trouble::Restore => self.restore(),
            Trouble::Purge => self.purge(),
            Trouble::Revoke => self.revoke(node),
            Trouble::Rollout => self.roll_out(),
        }
    }

    /// All is well from now on; what users' own code does stays as it is.
    pub(crate) fn heal(&mut self) {
        if self.is_healed {
            return;
        }
        self.trace.line(self.now, || "all troubles end".to_owned());
        let Options { nodes, swarms, trouble_ms, user_error, retries, rollouts, .. } = self.options;
        (self.is_healed, self.healed_at) = (true, self.now);
        self.options = Options { nodes, swarms, trouble_ms, user_error, retries, rollouts, ..Options::QUIET };
        // What was put off meanwhile happens when it was put off to; nothing is put off any more.
        (self.disk.full_until, self.disk.low_until) = (0, 0);
    }
}

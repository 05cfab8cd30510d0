//! Who a sandbox is on the host: one uid of its own, the uids of a zygote, or one of those.

use std::rc::Rc;

use crate::child::INSIDE_ID;
use crate::hostid::{HostId, Seat, Seats};

/// Host uids, given back when dropped.
pub(super) enum Identity {
    /// A task's.
    Own(HostId),
    /// A zygote's: its own and those of its children.
    Zygote(Rc<Seats>),
    /// A zygote's child's.
    Seat(Seat),
}

impl Identity {
    /// The uid, and the gid, that the sandbox's first program runs as on the host.
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Own(id) => id.number(),
            Self::Zygote(seats) => seats.own().number(),
            Self::Seat(seat) => seat.number(),
        }
    }

    /// What a user namespace directly below the host's maps: the program's own id, and for zygotes those after it.
    pub(super) fn map(&self) -> String {
        let numbers: Vec<u32> = match self {
            Self::Zygote(seats) => seats.numbers().collect(),
            Self::Own(_) | Self::Seat(_) => vec![self.number()],
        };
        assert!(!numbers.contains(&0), "no inside uid is root on the host");
        (INSIDE_ID..).zip(numbers).map(|(inside, outside)| format!("{inside} {outside} 1\n")).collect()
    }
}

//! What a policy bounds beside whose code runs: containment, hours, and how much leaves.

/// How well a node contains tasks; the later, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Without namespaces.
    Reduced,
    /// By an agent that is not root.
    Rootless,
    /// With all that there is.
    Full,
}

impl Isolation {
    /// All, the weakest first.
    pub const ALL: [Self; 3] = [Self::Reduced, Self::Rootless, Self::Full];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reduced => "reduced",
            Self::Rootless => "rootless",
            Self::Full => "full",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isolation| isolation.name() == name)
    }
}

/// The hours of a day in which tasks may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Its line in the policy's file, from 1.
    pub line: u32,
    /// Minutes since midnight, in [0, 1440), at which they begin.
    pub from_minute: u16,
    /// The same at which they end; before the beginning, they go on past midnight.
    pub until_minute: u16,
    /// The time zone, by its IANA name.
    pub zone: String,
    /// Whether it is one of these hours, as the node last told.
    pub is_open: bool,
}

impl Hours {
    /// Whether a minute of the day is in them.
    pub const fn contain(&self, minute: u16) -> bool {
        if self.from_minute < self.until_minute {
            self.from_minute <= minute && minute < self.until_minute
        } else {
            self.from_minute <= minute || minute < self.until_minute
        }
    }

    pub(super) fn span(&self) -> String {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{} to {} ({})", clock(self.from_minute), clock(self.until_minute), self.zone)
    }
}

/// How much of a dataset may leave: bytes of results, logs and reports of attempts that could open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressBudget {
    /// In each day of UTC.
    pub bytes_per_day: u64,
    /// Whether today's are used up, as the node last told.
    pub is_spent: bool,
}

//! What a node offers its manager beside what it is: datasets, and what its site allows. Both may change while the agent runs.
use std::sync::{Mutex, MutexGuard, PoisonError};

use manta_api::node::node_message::Kind;
use manta_api::node::{Dataset, Offering};
use manta_api::policy::PolicyForm;

use crate::agent::Node;

/// What the manager was told last.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Offering>);

impl Told {
    fn last(&self) -> MutexGuard<'_, Offering> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// What a greeting says.
    pub(crate) fn greet_with_offering(&self) -> Offering {
        let now = self.offering();
        self.told.last().clone_from(&now);
        now
    }

    /// Tells the manager, if it is another than it was told last. While there is no session, the next greeting tells.
    pub(crate) fn tell_offering(&self) {
        if !self.link.is_connected() {
            return;
        }
        let (now, mut last) = (self.offering(), self.told.last());
        if *last != now {
            last.clone_from(&now);
            self.outbox.push(Kind::Offering(now));
        }
    }

    fn offering(&self) -> Offering {
        let text = |schema: &_| serde_json::to_string(schema).expect("texts and numbers: always JSON");
        let datasets = self.datasets.all().into_iter().map(|(set, ..)| Dataset {
            name: set.name.clone(),
            form: set.form.name().to_owned(),
            size: set.size,
            schema: set.schema.as_ref().map(text).unwrap_or_default(),
        });
        let policy = self.site.policy();
        // Nothing where there are no rules.
        let policy = (!policy.is_empty()).then(|| {
            let form = PolicyForm::from(manta_types::Policy::clone(&policy));
            serde_json::to_string(&form).expect("texts and numbers: always JSON")
        });
        Offering { datasets: datasets.collect(), policy: policy.unwrap_or_default() }
    }
}

//! Distribution: what tasks of a swarm need is fetched when the swarm is deployed, whether or not one of them is offered yet.
//! It only hastens what comes: an attempt fetches what is not here.
use std::sync::Arc;

use manta_api::node::node_message::Kind;
use manta_api::node::{Distribute, Distributed};
use manta_types::Digest;
use tokio::sync::mpsc;

use crate::agent::Node;
use crate::supervisor::{Kind as LoopKind, Supervisor};

/// Orders that wait, at most; further ones are answered as failed.
const ORDERS_MAX: usize = 256;

/// The orders that this node was given, carried out one after the other.
pub(crate) struct Distribution {
    node: Arc<Node>,
    orders: mpsc::Sender<Distribute>,
}

impl Distribution {
    pub(crate) fn new(node: Arc<Node>, supervisor: &Supervisor) -> Self {
        let (orders, mut waiting) = mpsc::channel::<Distribute>(ORDERS_MAX);
        let (fetching, stop) = (Arc::clone(&node), supervisor.stopping());
        supervisor.spawn("distribution", LoopKind::Contained, async move {
            let work = async {
                while let Some(order) = waiting.recv().await {
                    carry_out(&fetching, &order).await;
                }
            };
            stop.run_until_cancelled(work).await;
        });
        Self { node, orders }
    }

    /// Takes an order, or says that it cannot be carried out.
    pub(crate) fn take(&self, order: Distribute) {
        if let Err(error) = self.orders.try_send(order) {
            let (mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order)) = error;
            tell(
                &self.node,
                &order.swarm,
                0,
                format!("{ORDERS_MAX} distributions wait here already, which is the limit"),
            );
        }
    }
}

/// Fetches part by part, and tells after each.
async fn carry_out(node: &Node, order: &Distribute) {
    let mut ready = 0;
    for image in &order.images {
        match node.images.resolve(image).await {
            Ok(_) => ready += 1,
            Err(words) => return tell(node, &order.swarm, ready, words),
        }
        tell(node, &order.swarm, ready, String::new());
    }
    for bundle in &order.bundles {
        let fetched = match bundle.parse::<Digest>() {
            Ok(digest) => fetch(node, digest).await,
            Err(error) => Err(error.to_string()),
        };
        match fetched {
            Ok(()) => ready += 1,
            Err(words) => return tell(node, &order.swarm, ready, format!("a module cannot be fetched: {words}")),
        }
        tell(node, &order.swarm, ready, String::new());
    }
}

/// Lays a bundle out that the site allows.
async fn fetch(node: &Node, digest: Digest) -> Result<(), String> {
    let described = node.bundles.describe(digest).await.map_err(|error| error.to_string())?;
    let admitted = node.site.allow(node, described).await.map_err(|refused| refused.message)?;
    node.bundles.get(admitted).await.map(drop).map_err(|error| error.to_string())
}

fn tell(node: &Node, swarm: &str, ready: u32, failure: String) {
    if !failure.is_empty() {
        tracing::info!(swarm, failure, "what tasks of a swarm need could not all be fetched ahead");
    }
    node.outbox.push(Kind::Distributed(Distributed { swarm: swarm.to_owned(), ready, failure }));
}

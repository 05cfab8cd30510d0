//! One of many nodes: connects, beats, says of every task that it is done, and comes back when its session ends.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use manta_api::node::{Heartbeat, manager_message, node_message};
use manta_client::{Connector, Endpoint, Tls, Token};
use manta_types::NodeId;
use manta_types::limits::HEARTBEAT;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval_at, sleep};

use crate::manager::Manager;
use crate::node::{Node, hello};
use crate::samples::Samples;

/// Nodes that dial at once: what the queue of a listening socket holds.
const DIALS_MAX: usize = 128;
/// How long a node waits before it dials again.
const REDIAL: Duration = Duration::from_secs(1);

/// How nodes show that they may come in.
#[derive(Debug)]
pub(super) enum Proof {
    /// By the token of a manager of this machine; each is told who it is when it first comes.
    Token(Token),
    /// By what each got when it joined.
    Certificates(Vec<(NodeId, Tls)>),
}

/// What a node of that number is called.
pub(super) fn name(index: usize) -> String {
    format!("node-{index:05}")
}

/// What all nodes of a bench share.
#[derive(Debug)]
pub(super) struct Fleet {
    size: usize,
    at: Endpoint,
    proof: Proof,
    dials: Semaphore,
    connected: AtomicUsize,
    finished: AtomicUsize,
    beats: Mutex<Samples>,
}

impl Fleet {
    /// Of so many nodes of that manager.
    pub(super) fn new(size: usize, manager: &Manager) -> Result<Arc<Self>> {
        Ok(Self::at(manager.endpoint()?, size, Proof::Token(manager.token("node-token")?)))
    }

    pub(super) fn at(at: Endpoint, size: usize, proof: Proof) -> Arc<Self> {
        let dials = Semaphore::new(DIALS_MAX);
        Arc::new(Self { size, at, proof, dials, connected: 0.into(), finished: 0.into(), beats: Mutex::default() })
    }

    /// Nodes with an open session.
    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Attempts that were reported as done.
    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }

    /// How long heartbeats waited for their answers since this was asked last.
    pub(super) fn beats(&self) -> Samples {
        std::mem::take(&mut *self.beats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is that node for as long as the bench runs.
    pub(super) async fn live(&self, index: usize) {
        let (name, mut id) = (name(index), String::new());
        loop {
            let dialled = {
                let Ok(_dialling) = self.dials.acquire().await else { return };
                match &self.proof {
                    Proof::Token(token) => {
                        Node::dial(&self.at, Connector::new(&self.at), Some(token), hello(&name, &id, 1)).await
                    }
                    Proof::Certificates(members) => {
                        let (member, tls) = &members[index];
                        let hello = hello(&name, &member.to_string(), 1);
                        Node::dial(&self.at, Connector::with_tls(&self.at, tls), None, hello).await
                    }
                }
            };
            if let Ok(mut node) = dialled {
                id.clone_from(&node.id);
                self.connected.fetch_add(1, Ordering::Relaxed);
                // It ends when the manager does; the node then comes back.
                let _ended = self.serve(&mut node, index).await;
                self.connected.fetch_sub(1, Ordering::Relaxed);
            }
            sleep(REDIAL).await;
        }
    }

    async fn serve(&self, node: &mut Node, index: usize) -> Result<()> {
        // Nodes do not beat together.
        let first = HEARTBEAT.mul_f64(index as f64 / self.size as f64);
        let mut due = interval_at(Instant::now() + first, HEARTBEAT);
        let (mut count, mut sent) = (0, Instant::now());
        loop {
            tokio::select! {
                _ = due.tick() => {
                    count += 1;
                    sent = Instant::now();
                    node.say(node_message::Kind::Heartbeat(Heartbeat { count, running: 0, queued: 0, link_quality: 0.0 })).await?;
                }
                kind = node.next() => match kind? {
                    manager_message::Kind::Heartbeat(reply) if reply.count == count => {
                        self.beats.lock().unwrap_or_else(PoisonError::into_inner).add(sent.elapsed());
                    }
                    manager_message::Kind::Offer(offer) => node.finish(&offer).await?,
                    manager_message::Kind::Verdict(_) => {
                        self.finished.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                },
            }
        }
    }
}

//! People and programs: who a token belongs to, what becomes of users and tokens, and the audit log of what was done.
//!
//! Users and tokens are held in memory and read at every request; changes are made one at a time, and are durable before
//! anybody sees them. What cannot be made durable ends the manager, as everywhere.
mod denials;
mod known;
mod secret;
mod sign_in;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use manta_api::{ErrorCode, Problem};
use manta_store::{
    AccessChange, AccessKey, AccessStore, AuditEntry, AuditFilter, AuditRecord, AuditVerdict, StoreError, TokenRecord,
};
use manta_types::ClusterId;
use serde::Serialize;
use subtle::ConstantTimeEq;

use self::denials::Denials;
use self::known::state_of;
pub(crate) use self::known::{Asker, Decided, Known, a};
use self::secret::Shown;
pub(crate) use self::secret::{Fresh, make};
use crate::ManagerError;
use crate::bearer::{Identity, User};
use crate::keys::Idempotency;
use crate::supervisor::Supervisor;
use crate::threads::Owned;
use crate::tokens::{Bearer, Tokens};

/// How exactly it is noted when a token was last used.
const USED_EVERY_MS: u64 = 60_000;
/// How long it is known what an idempotency key was used for.
const KEYS_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Users, tokens and the audit log of a running manager.
pub(crate) struct People {
    tokens: Tokens,
    known: RwLock<Known>,
    store: Owned<AccessStore>,
    /// Held while a change is decided and stored.
    changing: tokio::sync::Mutex<()>,
    /// What waits to be written to the audit log; whoever comes first writes all of it.
    unwritten: Arc<Mutex<Vec<AuditEntry>>>,
    denials: Mutex<Denials>,
    supervisor: Supervisor,
}

/// What became of a change.
pub(crate) enum Changed<T> {
    /// It was made now.
    Now(T),
    /// It was made before under the same key, and answered with this JSON.
    Before(String),
}

impl People {
    /// Takes over what is stored.
    pub(crate) async fn open(
        tokens: Tokens,
        store: Owned<AccessStore>,
        supervisor: Supervisor,
    ) -> Result<Self, ManagerError> {
        let read = store.run(|store| {
            Ok::<_, ManagerError>(Known::new(store.users()?, store.users_removed()?, store.tokens()?, store.quotas()?))
        });
        let known = read.await??;
        Ok(Self {
            tokens,
            known: RwLock::new(known),
            store,
            changing: tokio::sync::Mutex::default(),
            unwritten: Arc::default(),
            denials: Mutex::default(),
            supervisor,
        })
    }

    /// Whose token that is. Takes the same time wherever a secret differs.
    ///
    /// # Errors
    /// Says why it counts for nobody; `Identity::Nobody` is never given.
    pub(crate) fn identify(&self, text: &str, now_ms: u64) -> Result<Identity, Problem> {
        match self.tokens.bearer_of(text) {
            Some(Bearer::Administrator) => return Ok(Identity::User(User::administrator())),
            Some(Bearer::Node) => return Ok(Identity::Node),
            None => {}
        }
        let id = match secret::read(text) {
            Shown::Token(id) => id,
            Shown::Damaged => {
                let sentence = "the token was not copied whole: what it ends with does not fit the rest";
                let hint = "a whole one is `mnt_u_`, 16 digits, `_` and 72 more, 95 characters in one line; copy it again, or \
                            make another";
                return Err(Problem::new(ErrorCode::Unauthorized, sentence).hint(hint));
            }
            Shown::Other => return Err(unknown()),
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (token, user) = known.token(id).ok_or_else(unknown)?;
        if !bool::from(secret::digest(text).ct_eq(&token.digest)) {
            return Err(unknown());
        }
        match state_of(token, now_ms) {
            "active" => Ok(Identity::User(User {
                name: user.name.clone(),
                role: token.role.min(user.role),
                cluster: Some(token.cluster.clone()),
                token: Some(token.id.clone()),
                expires_ms: Some(token.expires_ms),
            })),
            state => {
                let problem = Problem::new(ErrorCode::Unauthorized, format!("the token `{}` is {state}", token.id));
                Err(problem.hint("ask an admin of the cluster for another: `manta token new --user NAME`"))
            }
        }
    }

    /// Notes that a token was used, to the minute.
    pub(crate) async fn used(&self, identity: &Identity, now_ms: u64) -> Result<(), ManagerError> {
        let due = |token: &TokenRecord| token.used_ms.is_none_or(|used_ms| now_ms >= used_ms + USED_EVERY_MS);
        let is_due = || {
            let id = identity.token()?;
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.token(id).map(|(token, _)| token).filter(|token| due(token)).cloned()
        };
        if is_due().is_none() {
            return Ok(());
        }
        let _changing = self.changing.lock().await;
        match is_due() {
            Some(token) => self.apply(vec![AccessChange::Token(TokenRecord { used_ms: Some(now_ms), ..token })]).await,
            None => Ok(()),
        }
    }

    /// Whether somebody who was let in still counts: their token has not expired, nor was it revoked, and its user is there.
    pub(crate) fn counts(&self, identity: &Identity, now_ms: u64) -> bool {
        identity.token().is_none_or(|id| {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.token(id).is_some_and(|(token, _)| state_of(token, now_ms) == "active")
        })
    }

    /// Forgets all users, tokens, quotas and keys of a cluster that goes; what they did stays on record.
    pub(crate) async fn forget(&self, cluster: &ClusterId) -> Result<(), ManagerError> {
        let _changing = self.changing.lock().await;
        self.apply(vec![AccessChange::ClusterGone(cluster.clone())]).await
    }

    /// Asks about users and tokens.
    pub(crate) fn ask<R>(&self, question: impl FnOnce(&Known) -> R) -> R {
        question(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides a change and makes it durable, once under its key.
    pub(crate) async fn change<T: Serialize>(
        &self,
        asker: Asker<'_>,
        idempotency: Option<Idempotency>,
        decide: impl FnOnce(&Known) -> Decided<T>,
    ) -> Result<Changed<T>, Problem> {
        let _changing = self.changing.lock().await;
        if let Some((key, request)) = idempotency.clone() {
            let cluster = asker.cluster.clone();
            let earlier = self.store.run(move |store| store.key(&cluster, &key)).await?.map_err(ManagerError::from)?;
            match earlier {
                Some(earlier) if earlier.request == request => return Ok(Changed::Before(earlier.answer)),
                Some(_) => {
                    let sentence = "the idempotency key was used for another request";
                    return Err(Problem::new(ErrorCode::Conflict, sentence).hint("send a new key with a new request"));
                }
                None => {}
            }
        }
        let (mut changes, view) = self.ask(decide)?;
        if let Some((key, request)) = idempotency {
            let answer = serde_json::to_string(&view).map_err(crate::http::internal)?;
            let (cluster, used_ms) = (asker.cluster.clone(), asker.now_ms);
            changes.push(AccessChange::KeysBefore(used_ms.saturating_sub(KEYS_KEPT_MS)));
            changes.push(AccessChange::Key(AccessKey { cluster, key, request, answer, used_ms }));
        }
        self.apply(changes).await?;
        Ok(Changed::Now(view))
    }

    async fn apply(&self, changes: Vec<AccessChange>) -> Result<(), ManagerError> {
        let stored = self.store.run(move |store| store.apply(&changes).map(|()| changes)).await?;
        let changes = self.or_stop(stored)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| known.follow(change));
        Ok(())
    }

    /// Writes what was done to the audit log; it is durable when this returns.
    pub(crate) async fn note(&self, entry: AuditEntry) -> Result<(), ManagerError> {
        self.write(vec![entry]).await
    }

    /// The same for what was denied, one by one or, in a flood, counted.
    pub(crate) async fn note_denial(&self, entry: AuditEntry) -> Result<(), ManagerError> {
        let noted = self.denials.lock().unwrap_or_else(PoisonError::into_inner).note(entry.time_ms);
        let mut entries = Vec::new();
        if noted.unnamed > 0 {
            let outcome = format!("{} further denials were counted and not named", noted.unnamed);
            let (who, token, source) = ("nobody".to_owned(), None, String::new());
            let (route, object) = (String::new(), String::new());
            entries.push(AuditEntry { who, token, source, route, object, outcome, key: None, ..entry.clone() });
        }
        if noted.is_named {
            entries.push(entry);
        }
        self.write(entries).await
    }

    async fn write(&self, entries: Vec<AuditEntry>) -> Result<(), ManagerError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
        let unwritten = Arc::clone(&self.unwritten);
        let written = self.store.run(move |store| {
            let waiting = std::mem::take(&mut *unwritten.lock().unwrap_or_else(PoisonError::into_inner));
            let written = if waiting.is_empty() { Ok(()) } else { store.append(&waiting) };
            if written.is_err() {
                // Whoever put one of them here must not be told that it is written.
                unwritten.lock().unwrap_or_else(PoisonError::into_inner).extend(waiting);
            }
            written
        });
        let written = written.await?;
        self.or_stop(written)
    }

    /// The newest records of the audit log that pass the filter.
    pub(crate) async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRecord>, ManagerError> {
        Ok(self.store.run(move |store| store.audit(&filter, limit)).await??)
    }

    /// Whether the audit log is what was written, and the digest of one record of it.
    pub(crate) async fn audit_verdict(
        &self,
        seq: Option<u64>,
    ) -> Result<(AuditVerdict, Option<[u8; 32]>), ManagerError> {
        let read = self.store.run(move |store| {
            let noted = seq.map(|seq| store.audit_digest(seq)).transpose()?.flatten();
            Ok::<_, StoreError>((store.audit_verdict()?, noted))
        });
        Ok(read.await??)
    }

    /// Ends the manager where something could not be stored.
    fn or_stop<T>(&self, stored: Result<T, StoreError>) -> Result<T, ManagerError> {
        stored.map_err(|error| {
            let sentence = error.to_string();
            self.supervisor.fail(error.into());
            ManagerError::Internal(sentence)
        })
    }
}

fn unknown() -> Problem {
    Problem::new(ErrorCode::Unauthorized, "the request carries no token that this manager knows").hint(
        "send `authorization: Bearer <token>`; those of users begin with `mnt_u_`, and the first one is in the file `token` of \
         the manager's data directory",
    )
}

#[cfg(test)]
mod tests;

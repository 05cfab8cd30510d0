//! What a sign-in makes of users and tokens: who may come in, as what, and as whom never.
use manta_api::{ErrorCode, Problem, TokenView};
use manta_store::{AccessChange, RoleFrom, UserRecord};
use manta_types::name::{check_label, printable};
use manta_types::{Role, limits};

use super::known::{Asker, Decided, Known, RESERVED, token_of};
use super::secret::Fresh;
use crate::oidc::{OidcSettings, Person};

impl Known {
    /// Lets a person in whom the issuer vouches for, as its settings say, and keeps a token for them that was just made.
    pub(crate) fn sign_in(
        &self,
        asker: Asker<'_>,
        person: &Person,
        settings: &OidcSettings,
        fresh: &Fresh,
    ) -> Decided<TokenView> {
        let Person { name, subject, role } = person;
        let shown = printable(name, 64);
        if let Err(error) = check_label("user", name) {
            let sentence = format!("the issuer calls you `{shown}`, which cannot be a user's name here: {error}");
            return Err(refused(sentence, "another claim may name users: `user_claim` in the manager's [oidc]"));
        }
        if RESERVED.contains(&name.as_str()) {
            let sentence = format!("the issuer calls you `{shown}`, which stands for somebody else here");
            return Err(refused(sentence, "another claim may name users: `user_claim` in the manager's [oidc]"));
        }
        let known = self.users.get(&(asker.cluster.clone(), name.clone()));
        if known.is_some_and(|user| user.subject.as_ref().is_some_and(|other| other != subject)) {
            let sentence = format!("the user `{shown}` is another person of the issuer's, or of another issuer");
            return Err(refused(
                sentence,
                "if you are to be that user, an admin removes and adds them: `manta user rm`",
            ));
        }
        let (role, role_from) = match (role, known) {
            (Some(role), _) => (*role, RoleFrom::Issuer),
            (None, Some(user)) if user.role_from == RoleFrom::Admin => (user.role, RoleFrom::Admin),
            (None, _) => (self.role_without_groups(known, &shown, settings)?, RoleFrom::Issuer),
        };
        if known.is_none() {
            self.room_for_a_person(asker, name)?;
        }
        let created_ms = known.map_or(asker.now_ms, |user| user.created_ms);
        let (cluster, subject) = (asker.cluster.clone(), Some(subject.clone()));
        let user = UserRecord { cluster, name: name.clone(), role, created_ms, subject, role_from };
        let life_ms = u64::try_from(settings.token_life.as_millis()).unwrap_or(u64::MAX);
        let mut changes = self.room_for_a_token(asker)?;
        // It may what its user may, also when that becomes another role.
        let token = token_of(asker, &user, Role::Admin, life_ms, fresh);
        let view = TokenView { role, ..self.token_view(asker, &token) };
        if known != Some(&user) {
            changes.push(AccessChange::User(user));
        }
        changes.push(AccessChange::Token(token));
        Ok((changes, view))
    }

    fn role_without_groups(
        &self,
        known: Option<&UserRecord>,
        shown: &str,
        settings: &OidcSettings,
    ) -> Result<Role, Problem> {
        settings.default_role.ok_or_else(|| match known {
            Some(_) => {
                let sentence = format!("none of the groups of `{shown}` gives a role any more");
                refused(sentence, "an admin can give one by hand: `manta user set-role NAME --role ROLE`")
            }
            None => {
                let sentence = format!("there is no user `{shown}` here, and none of their groups gives a role");
                refused(sentence, "ask an admin of the cluster: `manta user add NAME --role ROLE`")
            }
        })
    }

    /// Whether the issuer may bring somebody whom no admin added.
    fn room_for_a_person(&self, asker: Asker<'_>, name: &str) -> Result<(), Problem> {
        if self.removed.contains(&(asker.cluster.clone(), name.to_owned())) {
            let sentence = format!("the user `{name}` was removed from the cluster");
            return Err(refused(sentence, "an admin can add them again: `manta user add NAME --role ROLE`"));
        }
        let most = limits::USERS_PER_CLUSTER_MAX;
        if self.users_of(asker.cluster).count() >= most {
            let sentence = format!("the cluster has {most} users, and no more are kept (users_per_cluster_max)");
            return Err(Problem::new(ErrorCode::TooLarge, sentence).hint("`manta user rm` removes one"));
        }
        let most = limits::USERS_REMOVED_MAX;
        if self.removed.len() >= most {
            let sentence =
                format!("{most} users were removed, and who comes after them is not known (users_removed_max)");
            return Err(refused(sentence, "ask an admin of the cluster: `manta user add NAME --role ROLE`"));
        }
        Ok(())
    }
}

fn refused(sentence: String, hint: &str) -> Problem {
    Problem::new(ErrorCode::SignInRefused, sentence).hint(hint)
}

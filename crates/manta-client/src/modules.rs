//! Published modules.
use manta_api::{
    BundleSignatures, MarkRequest, ModuleMark, ModuleUseView, ModuleVersionView, ModuleView, PublishRequest,
};
use manta_types::Digest;

use crate::swarms::encode;
use crate::{Client, ClientError};

/// Modules that one question asks for.
const PAGE: usize = 1000;

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// Publishes a bundle, whose manifest and files are stored; the same bundle again is accepted.
    ///
    /// # Errors
    /// As for every call; a version that is published as another bundle is a conflict.
    pub async fn publish(&self, bundle: Digest, publisher: &str, key: &str) -> Result<ModuleVersionView, ClientError> {
        self.change_json("/modules", &PublishRequest { bundle, publisher: publisher.to_owned() }, key).await
    }

    /// All modules whose name or description holds a text, or all, by name.
    ///
    /// # Errors
    /// As for every call.
    pub async fn modules(&self, search: Option<&str>) -> Result<Vec<ModuleView>, ClientError> {
        let mut all: Vec<ModuleView> = Vec::new();
        loop {
            let page = self.modules_after(all.last().map(|last| last.name.as_str()), search, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// As many of them as fit a page, after the one of that name, or from the first on; the manager has a limit of its own.
    ///
    /// # Errors
    /// As for every call.
    pub async fn modules_after(
        &self,
        after: Option<&str>,
        search: Option<&str>,
        page: usize,
    ) -> Result<Vec<ModuleView>, ClientError> {
        let search = search.map(|text| format!("&search={}", encode(text))).unwrap_or_default();
        let after = after.map(|name| format!("&after={}", encode(name))).unwrap_or_default();
        self.get_json(&format!("/modules?limit={page}{search}{after}")).await
    }

    /// All versions of a module, the newest first.
    ///
    /// # Errors
    /// As for every call.
    pub async fn module(&self, name: &str) -> Result<Vec<ModuleVersionView>, ClientError> {
        self.get_json(&format!("/modules/{}", encode(name))).await
    }

    /// The version of a module that is meant by a version, a range or a tag; without one, the newest.
    ///
    /// # Errors
    /// As for every call; where there is none, what exists is listed.
    pub async fn module_version(&self, name: &str, wanted: Option<&str>) -> Result<ModuleVersionView, ClientError> {
        let wanted = wanted.map(|wanted| format!("?version={}", encode(wanted))).unwrap_or_default();
        self.get_json(&format!("/modules/{}/chosen{wanted}", encode(name))).await
    }

    /// The swarms that pin a version of a module.
    ///
    /// # Errors
    /// As for every call.
    pub async fn module_users(&self, name: &str) -> Result<Vec<ModuleUseView>, ClientError> {
        self.get_json(&format!("/modules/{}/users", encode(name))).await
    }

    /// The signatures of a bundle, as far as the manager has any; for nodes. Nothing in them is verified here.
    ///
    /// # Errors
    /// As for every call.
    pub async fn bundle_signatures(&self, bundle: Digest) -> Result<Vec<String>, ClientError> {
        let found: BundleSignatures = self.get_json(&format!("/signatures/{bundle}")).await?;
        Ok(found.signatures)
    }

    /// Says something of a version from now on.
    ///
    /// # Errors
    /// As for every call.
    pub async fn mark_module(
        &self,
        name: &str,
        version: &str,
        mark: ModuleMark,
        key: &str,
    ) -> Result<ModuleVersionView, ClientError> {
        let request = MarkRequest { version: version.to_owned(), mark };
        self.change_json(&format!("/modules/{}/marks", encode(name)), &request, key).await
    }
}

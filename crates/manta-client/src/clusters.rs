//! The clusters of a manager, for its administrator.
use manta_api::{ClusterRemovedView, ClusterRequest, ClusterView};
use manta_types::ClusterId;

use crate::{Client, ClientError};

/// Each of these fails when the manager refuses, cannot be reached, or answers what this client cannot read.
impl Client {
    /// All clusters, the first one first.
    ///
    /// # Errors
    /// As for every call.
    pub async fn clusters(&self) -> Result<Vec<ClusterView>, ClientError> {
        self.get_from(&self.root_uri("/v1/clusters")).await
    }

    /// Adds a cluster; one that is there already is a conflict.
    ///
    /// # Errors
    /// As for every call.
    pub async fn add_cluster(&self, name: &ClusterId, key: &str) -> Result<ClusterView, ClientError> {
        self.change_at(&self.root_uri("/v1/clusters"), &ClusterRequest { name: name.to_string() }, key).await
    }

    /// Removes a cluster that is not in use, with all that is stored of it; `damaged`, also one that cannot be recovered.
    ///
    /// # Errors
    /// As for every call; one that is in use is a conflict that says by what.
    pub async fn remove_cluster(
        &self,
        name: &ClusterId,
        damaged: bool,
        key: &str,
    ) -> Result<ClusterRemovedView, ClientError> {
        let damaged = if damaged { "?damaged=true" } else { "" };
        self.change_at(&self.root_uri(&format!("/v1/clusters/{name}/remove{damaged}")), &(), key).await
    }
}

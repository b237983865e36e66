//! The authorities of AlloyDB clusters: one CA each, and below it the one that signs clients.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::authority::{Authority, KeyKind};
use crate::world::make_authority;

/// By cluster: who signs the servers, and who signs the clients.
#[derive(Default)]
pub(crate) struct Clusters(Mutex<HashMap<String, Pair>>);

type Pair = (Arc<Authority>, Arc<Authority>);

impl Clusters {
    /// The authorities of a cluster, made for its first instance.
    pub(crate) async fn authorities(&self, cluster: &str, keys: KeyKind) -> anyhow::Result<Pair> {
        let mut clusters = self.0.lock().await;
        if let Some(pair) = clusters.get(cluster) {
            return Ok(pair.clone());
        }
        let root = make_authority(ROOT, keys).await?;
        let pair = (root.clone(), below(root, keys).await?);
        clusters.insert(cluster.to_string(), pair.clone());
        Ok(pair)
    }

    /// A new CA for the cluster's servers.
    pub(crate) async fn rotate_server(
        &self,
        cluster: &str,
        keys: KeyKind,
    ) -> anyhow::Result<Arc<Authority>> {
        let root = make_authority(ROOT, keys).await?;
        if let Some((server, _)) = self.0.lock().await.get_mut(cluster) {
            *server = root.clone();
        }
        Ok(root)
    }

    /// A new signer for the cluster's clients, below a CA that no certificate issued so far comes from.
    pub(crate) async fn rotate_client(
        &self,
        cluster: &str,
        keys: KeyKind,
    ) -> anyhow::Result<Arc<Authority>> {
        let signer = below(make_authority(ROOT, keys).await?, keys).await?;
        if let Some((_, client)) = self.0.lock().await.get_mut(cluster) {
            *client = signer.clone();
        }
        Ok(signer)
    }
}

async fn below(root: Arc<Authority>, keys: KeyKind) -> anyhow::Result<Arc<Authority>> {
    let made = tokio::task::spawn_blocking(move || root.subordinate(CLIENT_SIGNER, keys)).await;
    Ok(Arc::new(made.expect("no panic")?))
}

const ROOT: &str = "root.alloydb";
const CLIENT_SIGNER: &str = "client.alloydb";

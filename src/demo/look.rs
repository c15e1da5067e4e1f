//! Reads the hub's objects as a user would: with a client, over HTTP.

use kube::api::{Api, ListParams};

use super::view::View;
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;

/// Looks at the fleet through the hub's own cluster.
#[derive(Clone)]
pub struct Look {
    repositories: Api<KopiaRepository>,
    members: Api<MemberCluster>,
}

impl Look {
    pub fn new(client: &kube::Client) -> Self {
        Self { repositories: Api::all(client.clone()), members: Api::all(client.clone()) }
    }

    pub async fn look(&self) -> kube::Result<View> {
        let all = ListParams::default();
        let repositories = self.repositories.list(&all).await?;
        let members = self.members.list(&all).await?;
        Ok(View::of(&repositories.items, &members.items))
    }
}

//! Reads and edits KopiaRepositories and MemberClusters on the hub's own cluster, as the person who asks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::object::HasSpec;
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::decide::{Edit, FIELD_MANAGER};
use crate::api::kopia_repository::KopiaRepository;
use crate::api::member_cluster::MemberCluster;
use crate::cli::run::HubArgs;
use crate::cli::run::{hub_config, namespace};
use crate::hub::kinds;
use crate::member::Class;
use crate::member::error::classify;

/// As kubectl asks for long lists.
const PAGE: u32 = 500;
/// The hub's API server is near; one that takes longer is in trouble.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Edits under way at once: a person's request, not a load.
const IN_FLIGHT_MAX: usize = 8;
/// The hub writes status meanwhile, a few times in a second at most; that is no reason to give up.
const ATTEMPTS_MAX: usize = 8;
/// Between two looks at status; the hub itself takes about as long.
pub const POLL: Duration = Duration::from_millis(500);

/// The hub's own cluster.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    /// Its address, for errors: people have several clusters.
    server: String,
    /// Where the hub runs, and keeps what is its own.
    namespace: String,
}

/// A generation that the hub's status should tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    pub name: String,
    pub generation: i64,
}

impl Hub {
    pub async fn connect(args: &HubArgs) -> Result<Self, String> {
        Self::with(args, hub_config(args.hub_kubeconfig.as_deref()).await?)
    }

    /// The same where its kubeconfig has been read.
    pub fn with(args: &HubArgs, config: Config) -> Result<Self, String> {
        let namespace = namespace(args, &config);
        Ok(Self { namespace, ..Self::of(config)? })
    }

    pub fn of(config: Config) -> Result<Self, String> {
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config)
            .map_err(|error| format!("failed to make a client for the hub at {server}: {error}"))?;
        Ok(Self { client, server, namespace: "volsync-system".to_owned() })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One object in the hub's own namespace; none where there is none.
    pub async fn own<K>(&self, name: &str) -> Result<Option<K>, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("{} {}/{name}", K::kind(&()), self.namespace);
        self.timed(("get", &what), api.get_opt(name)).await.map_err(|failed| failed.message)
    }

    /// What its API server is; an error where it does not answer.
    pub async fn version(&self) -> Result<String, String> {
        let version = self.timed(("ask for", "the version of Kubernetes"), self.client.apiserver_version()).await;
        version.map(|version| version.git_version).map_err(|failed| failed.message)
    }

    /// As whom these requests are made.
    pub async fn whoami(&self) -> Result<String, String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let (parameters, review) = (PostParams::default(), SelfSubjectReview::default());
        let told = self.timed(("ask", "who this is"), api.create(&parameters, &review)).await;
        let told = told.map_err(|failed| failed.message)?;
        Ok(told.status.and_then(|status| status.user_info?.username).unwrap_or_default())
    }

    pub async fn definition(&self, name: &str) -> Result<Option<CustomResourceDefinition>, String> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let what = format!("CustomResourceDefinition {name}");
        self.timed(("get", &what), api.get_opt(name)).await.map_err(|failed| failed.message)
    }

    /// Writes the ConfigMap with the hub's id, on the version that was read; without one it must not be there yet.
    pub async fn write_id(&self, map: &ConfigMap) -> Result<(), String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let (name, parameters) =
            (map.name_any(), PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() });
        let what = format!("ConfigMap {}/{name}", self.namespace);
        let written = match map.resource_version() {
            Some(_) => self.timed(("replace", &what), api.replace(&name, &parameters, map)).await,
            None => self.timed(("create", &what), api.create(&parameters, map)).await,
        };
        written.map(drop).map_err(|failed| {
            if failed.conflict {
                format!(
                    "{what} on the hub at {} was not written: somebody else wrote it meanwhile. Repeat the command",
                    self.server
                )
            } else {
                failed.message
            }
        })
    }

    pub async fn repositories(&self) -> Result<Vec<KopiaRepository>, String> {
        self.list("KopiaRepositories").await
    }

    pub async fn members(&self) -> Result<Vec<MemberCluster>, String> {
        self.list("MemberClusters").await
    }

    /// All of a kind as they stand there, with whatever this program does not know of them.
    pub async fn objects(&self, resource: &ApiResource, what: &str) -> Result<Vec<DynamicObject>, String> {
        self.pages(&Api::all_with(self.client.clone(), resource), what).await.map_err(|failed| failed.message)
    }

    /// Under the group where the hub has them, as [`kinds::policy_group`] finds it out; people may not read CRDs.
    pub async fn policies(&self) -> Result<Vec<DynamicObject>, String> {
        let of_group = |group: &str| Api::all_with(self.client.clone(), &kinds::policy(group));
        let found = match self.pages(&of_group(kinds::HUB_GROUP), "KopiaMaintenances").await {
            Err(Failed { absent: true, .. }) => self.pages(&of_group(kinds::POLICY_GROUP), "KopiaMaintenances").await,
            other => other,
        };
        // VolSync's own kind of that name is namespaced, and no policy of the hub.
        found
            .map(|found| found.into_iter().filter(|object: &DynamicObject| object.namespace().is_none()).collect())
            .map_err(|failed| failed.message)
    }

    async fn list<K>(&self, what: &str) -> Result<Vec<K>, String>
    where
        K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned,
    {
        self.pages(&Api::all(self.client.clone()), what).await.map_err(|failed| failed.message)
    }

    /// All of a kind, in pages.
    async fn pages<K>(&self, api: &Api<K>, what: &str) -> Result<Vec<K>, Failed>
    where
        K: Clone + fmt::Debug + DeserializeOwned,
    {
        let (mut all, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let page = self.timed(("list", what), api.list(&parameters)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = ListParams::default().limit(PAGE).continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    pub async fn repository(&self, name: &str) -> Result<KopiaRepository, String> {
        let api: Api<KopiaRepository> = Api::all(self.client.clone());
        self.timed(("get", &format!("KopiaRepository {name}")), api.get(name)).await.map_err(|failed| failed.message)
    }

    /// Makes every edit, also where another one fails. In the order of the edits.
    pub async fn edit<K>(&self, edits: &[&Edit<K::Spec>]) -> Vec<Result<Edited, String>>
    where
        K: Resource<DynamicType = ()> + HasSpec + Clone + fmt::Debug + DeserializeOwned,
        K::Spec: PartialEq,
    {
        futures::stream::iter(edits).map(|edit| self.edit_one::<K>(edit)).buffered(IN_FLIGHT_MAX).collect().await
    }

    /// Only on the version that was read; where just the status is another since, on that one.
    async fn edit_one<K>(&self, edit: &Edit<K::Spec>) -> Result<Edited, String>
    where
        K: Resource<DynamicType = ()> + HasSpec + Clone + fmt::Debug + DeserializeOwned,
        K::Spec: PartialEq,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let (name, parameters) =
            (&edit.name, PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() });
        let what = format!("{} {name}", K::kind(&()));
        let mut version = edit.version.clone();
        for _ in 0..ATTEMPTS_MAX {
            let mut metadata = json!({"resourceVersion": version});
            if !edit.annotations.is_null() {
                metadata["annotations"] = edit.annotations.clone();
            }
            let patch = Patch::Merge(json!({"metadata": metadata, "spec": edit.spec}));
            match self.timed(("patch", &what), api.patch(name, &parameters, &patch)).await {
                Ok(object) => {
                    return Ok(Edited { name: name.clone(), generation: object.meta().generation.unwrap_or(0) });
                }
                Err(Failed { conflict: true, .. }) => {}
                Err(failed) => return Err(failed.message),
            }
            let object = self.timed(("get", &what), api.get(name)).await.map_err(|failed| failed.message)?;
            if *object.spec() != edit.before {
                return Err(format!(
                    "{what} on the hub at {} was not edited: somebody changed its spec meanwhile. Look at it and \
                     repeat the command",
                    self.server
                ));
            }
            version = object.resource_version();
        }
        Err(format!(
            "{what} on the hub at {} was not edited: its status changed {ATTEMPTS_MAX} times meanwhile. Repeat the \
             command",
            self.server
        ))
    }

    /// Looks at status until it tells of each edit, but no longer than `patience`. What was seen last.
    pub async fn follow(
        &self,
        edited: &[Edited],
        patience: Duration,
    ) -> Result<BTreeMap<String, KopiaRepository>, String> {
        let end = Instant::now() + patience;
        loop {
            let seen = self.look(edited).await?;
            let told = |edited: &Edited| seen.get(&edited.name).is_some_and(|object| is_told(object, edited));
            if edited.iter().all(told) || Instant::now() >= end {
                return Ok(seen);
            }
            tokio::time::sleep_until(end.min(Instant::now() + POLL)).await;
        }
    }

    async fn look(&self, edited: &[Edited]) -> Result<BTreeMap<String, KopiaRepository>, String> {
        let objects = match edited {
            [one] => vec![self.repository(&one.name).await?],
            _ => self.repositories().await?,
        };
        Ok(objects.into_iter().map(|object| (object.name_any(), object)).collect())
    }

    async fn timed<T>(
        &self,
        (verb, what): (&str, &str),
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failed> {
        let failed = |class: Option<&Class>, detail: &str| Failed {
            conflict: matches!(class, Some(Class::Conflict | Class::AlreadyExists)),
            absent: matches!(class, Some(Class::NotServed | Class::NotFound)),
            message: format!("failed to {verb} {what} on the hub at {}: {detail}", self.server),
        };
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                let (class, detail) = classify(&error);
                let advice = advice(&class, verb, what).map(|advice| format!("; {advice}")).unwrap_or_default();
                Err(failed(Some(&class), &format!("{detail}{advice}")))
            }
            Err(_) => Err(failed(None, &format!("no answer within {} s; repeat the command", TIMEOUT.as_secs()))),
        }
    }
}

struct Failed {
    /// Somebody else wrote it since it was read.
    conflict: bool,
    /// There is no such object, or no such kind.
    absent: bool,
    message: String,
}

/// The hub has taken note of this edit.
pub fn is_told(object: &KopiaRepository, edited: &Edited) -> bool {
    let observed = object.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some_and(|observed| observed >= edited.generation)
}

/// What a person can do about it.
fn advice(class: &Class, verb: &str, what: &str) -> Option<String> {
    let not_the_hub = "is this the hub's cluster? Set KUBECONFIG or --hub-kubeconfig to it, or install the hub's kinds: \
                       volsync-hub crd | kubectl apply --server-side -f -";
    match class {
        Class::Forbidden { .. } => {
            Some("the rights that a person needs are under Levers in docs/operations.md".to_owned())
        }
        Class::Unauthorized => Some("its API server refuses your credentials: renew the kubeconfig".to_owned()),
        Class::Unreachable => Some("check that the cluster is up, and that the kubeconfig is the hub's".to_owned()),
        Class::NotServed => Some(not_the_hub.to_owned()),
        Class::NotFound if verb == "list" => Some(not_the_hub.to_owned()),
        Class::NotFound => {
            let kind = if what.starts_with("MemberCluster") { "memberclusters" } else { "kopiarepositories" };
            Some(format!("{what} is gone; `kubectl get {kind}` shows those that there are"))
        }
        _ => None,
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::super::testing::name;
    use super::*;
    use crate::sim::SimCluster;

    const LEDGER: (&str, &str) = ("hub.volsync.backube", "kopiarepositories");

    async fn stage(spec: &Value) -> (SimCluster, Hub, Edit) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = SimCluster::start("hub").await.unwrap();
        let definition = include_str!("../../../deploy/crds/kopiarepositories.yaml");
        cluster.actor("test").apply(&serde_saphyr::from_str(definition).unwrap()).unwrap();
        let object = json!({"apiVersion": "hub.volsync.backube/v1alpha1", "kind": "KopiaRepository",
            "metadata": {"name": name(1)}, "spec": spec});
        cluster.actor("test").create(object).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(cluster.kubeconfig().unwrap(), &options).await.unwrap();
        let hub = Hub::of(config).unwrap();
        let object = hub.repositories().await.unwrap().remove(0);
        let (version, before) = (object.resource_version(), object.spec);
        (
            cluster,
            hub,
            Edit { name: name(1), before, version, spec: json!({"cluster": "east"}), annotations: Value::Null },
        )
    }

    #[tokio::test]
    async fn a_status_written_meanwhile_is_no_reason_to_give_up() {
        let (cluster, hub, edit) = stage(&json!({})).await;
        cluster.actor("hub").merge_status(LEDGER, ("", &edit.name), &json!({"state": "Maintained"})).unwrap();
        assert!(hub.edit::<KopiaRepository>(&[&edit]).await.remove(0).is_ok_and(|edited| edited.generation == 2));
        let object = cluster.actor("test").get(LEDGER.0, LEDGER.1, "", &edit.name).unwrap();
        assert_eq!((&object["spec"]["cluster"], &object["status"]["state"]), (&json!("east"), &json!("Maintained")));
    }

    #[tokio::test]
    async fn what_somebody_else_has_edited_meanwhile_is_left_alone() {
        let (cluster, hub, edit) = stage(&json!({"cluster": "north"})).await;
        let other = json!({"spec": {"cluster": "west"}});
        cluster.actor("user").merge(LEDGER, ("", &edit.name), &other).unwrap();
        let refused = hub.edit::<KopiaRepository>(&[&edit]).await.remove(0).unwrap_err();
        assert!(refused.contains("was not edited: somebody changed its spec meanwhile"), "{refused}");
        let object = cluster.actor("test").get(LEDGER.0, LEDGER.1, "", &edit.name).unwrap();
        assert_eq!(object["spec"]["cluster"], "west");
        cluster.actor("user").delete(LEDGER.0, LEDGER.1, "", &edit.name).unwrap();
        let gone = hub.edit::<KopiaRepository>(&[&edit]).await.remove(0).unwrap_err();
        assert!(gone.contains("is gone"), "{gone}");
    }
}

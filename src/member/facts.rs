//! What is slow to change in a member and asked for now and then: its version and identity, VolSync's Deployment and
//! CRD, the member namespace, the mover's ServiceAccount, and the hub's rights there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::params::{GetParams, ListParams};
use kube::core::request::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;

use crate::names::ObjectName;

use super::MemberSettings;
use super::access;
use super::call::{CallError, Class, Member, Operation};
use super::contact::until_up;
use super::event::{ConditionKind, MemberCondition, MemberEvent, MemberFacts, OwnedKind, ProxyVariables};
use super::inputs::Looks;
use super::records;
use super::seen::Events;
use super::wire::{Bare, Page, PodTemplate};

/// All of this changes by a person's hand. A fleet of a thousand members is asked five times a second for it.
const POLL: Duration = Duration::from_mins(30);
/// While something is missing, so that it is picked up when it appears.
const POLL_INCOMPLETE: Duration = Duration::from_secs(30);
/// One after the other while a cluster is being set up, not a storm.
const GAP: Duration = Duration::from_secs(2);
/// The oldest Kubernetes with what the pushed Jobs use.
const MINOR_MIN: u32 = 29;
/// The mover's ServiceAccount in each member.
const SERVICE_ACCOUNT: &str = "volsync-hub-mover";
const IMAGE_VARIABLE: &str = "RELATED_IMAGE_KOPIA_CONTAINER";
const PROXY_VARIABLES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
/// What to do about a right that is missing.
const GRANT: &str = "an administrator of that cluster grants it with `kubectl apply --server-side -k deploy/member`, or by \
                     a rule of one's own; it is looked for every half minute";
/// What a right is for that no other member needs.
const ADOPTS: &str = "for its adoptForeign: true, by deploy/member-adopt-foreign";
/// OpenShift has it, and nobody else.
const OPENSHIFT: &str = "security.openshift.io";
const CRD: &str = "replicationsources.volsync.backube";

/// Tells one cluster from all others: the UID of its `kube-system`. None where it may not be read.
pub async fn cluster_uid(member: &Member) -> Result<Option<Box<str>>, CallError> {
    match bare(member, "Namespace", "/api/v1/namespaces", "kube-system").await {
        Ok(namespace) => Ok(namespace.map(|it| it.metadata.uid).filter(|uid| !uid.is_empty())),
        Err(CallError { class: Class::Forbidden { .. }, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fails unless the CRD of ReplicationSources is there to stay: while it goes, its objects are deleted one by one,
/// and that says nothing about what their users want.
pub async fn crd_stands(member: &Member) -> Result<(), CallError> {
    let operation = Operation::new("confirm", format!("CustomResourceDefinition {CRD}"));
    match crd(member).await? {
        Crd::Stands => Ok(()),
        Crd::Absent => Err(CallError::new(member.name(), &operation, Class::NotFound, "it is not there")),
        Crd::Terminating => Err(CallError::new(member.name(), &operation, Class::NotFound, "it is being deleted")),
    }
}

enum Crd {
    Stands,
    Absent,
    Terminating,
}

async fn crd(member: &Member) -> Result<Crd, CallError> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let found = bare(member, "CustomResourceDefinition", path, CRD).await?;
    Ok(match found {
        None => Crd::Absent,
        Some(crd) if crd.metadata.deletion_timestamp.is_some() => Crd::Terminating,
        Some(_) => Crd::Stands,
    })
}

/// Finds the facts again and again, and reports them when they change.
pub struct Observer {
    pub member: Member,
    pub settings: MemberSettings,
    pub looks: Receiver<Looks>,
    pub events: Events,
    pub expires: Option<Timestamp>,
    pub look_again: Arc<Notify>,
}

impl Observer {
    pub async fn run(mut self) {
        let mut last = None;
        loop {
            until_up(&self.member).await;
            // What is asked for from here on is what is wanted now.
            self.looks.mark_unchanged();
            let complete = match self.find().await {
                Ok(found) => {
                    let complete = found.1.iter().all(|condition| condition.status == Some(true));
                    self.report(found, &mut last).await;
                    complete
                }
                Err(error) => {
                    tracing::warn!(member = %self.events.member, %error, "facts can't be found");
                    false
                }
            };
            let pause = if complete { POLL } else { POLL_INCOMPLETE };
            tokio::time::sleep(GAP).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.look_again.notified() => {}
                // The MemberCluster may name another namespace now; an input that is closed stays as it is.
                Ok(()) = self.looks.changed() => {}
            }
        }
    }

    /// Facts are told each time: the hub itself changes one of them, the ServiceAccount, so that only whoever takes
    /// them in knows what is new.
    async fn report(&self, found: Found, last: &mut Option<Found>) {
        let member = || self.events.member.clone();
        let before = last.as_ref();
        for condition in &found.1 {
            if before.is_none_or(|(_, conditions)| !conditions.contains(condition)) {
                self.events.send(MemberEvent::Condition { member: member(), condition: condition.clone() }).await;
            }
        }
        let object = found.0.service_account.clone().map(Box::new);
        let name = ObjectName::new(self.settings.member_namespace.clone(), SERVICE_ACCOUNT);
        let kind = OwnedKind::ServiceAccount;
        self.events.send(MemberEvent::Owned { member: member(), kind, name, object }).await;
        self.events.send(MemberEvent::Facts { member: member(), facts: Box::new(found.0.clone()) }).await;
        *last = Some(found);
    }

    async fn find(&self) -> Result<Found, CallError> {
        let member = &self.member;
        let volsync_namespace = self.volsync_namespace();
        let version = version(member).await?;
        let namespace = permitted(self.namespace().await)?;
        let crd = permitted(crd(member).await)?;
        let deployment = permitted(volsync(member, &volsync_namespace).await)?.unwrap_or_default();
        let groups = permitted(groups(member).await)?;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.settings.member_namespace);
        let account = permitted(bare(member, "ServiceAccount", &path, SERVICE_ACCOUNT).await)?.flatten();
        let mut missing = permitted(
            access::missing(member, access::of_member(&self.settings.member_namespace, &volsync_namespace)).await,
        )?;
        if let Some(missing) = missing.as_mut().filter(|_| self.adopts()) {
            let more = permitted(access::missing(member, access::of_adoption()).await)?.unwrap_or_default();
            missing.extend(more.into_iter().map(|rule| format!("{rule} ({ADOPTS})")));
        }
        let facts = MemberFacts {
            supported: is_supported(&version),
            kubernetes_version: version,
            // A cluster may be made anew behind the same address and credentials.
            cluster_uid: cluster_uid(member).await?,
            mover_image: deployment.image,
            proxy: deployment.proxy,
            openshift: groups.is_some_and(|groups| groups.contains_key(OPENSHIFT)),
            namespace: namespace.unwrap_or(true),
            volsync_installed: matches!(crd, Some(Crd::Stands)),
            credentials_expire: self.expires,
            service_account: account.map(|it| records::owned(it.metadata, None)),
        };
        let conditions =
            vec![supported(&facts), installed(&facts, crd.as_ref(), &self.settings), authorized(missing.as_deref())];
        Ok((facts, conditions))
    }

    /// Is the member namespace there? Told by a list, which is allowed anyway.
    async fn namespace(&self) -> Result<bool, CallError> {
        let name = &self.settings.member_namespace;
        let parameters = ListParams { field_selector: Some(format!("metadata.name={name}")), ..ListParams::default() };
        let operation = Operation::list(format!("Namespace {name}"));
        let text = self.member.text(&operation, Request::new("/api/v1/namespaces").list_metadata(&parameters)).await?;
        let page: Page<Bare> = self.member.parse(&operation, &text)?;
        Ok(page.items.iter().any(|it| *it.metadata.name == **name))
    }

    fn adopts(&self) -> bool {
        self.looks.borrow().adopt_foreign
    }

    fn volsync_namespace(&self) -> Arc<str> {
        let named = self.looks.borrow().volsync_namespace.clone();
        named.unwrap_or_else(|| self.settings.volsync_namespace.clone())
    }
}

type Found = (MemberFacts, Vec<MemberCondition>);

/// A right that is missing is a fact of its own; it must not hide the others.
fn permitted<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(CallError { class: Class::Forbidden { .. } | Class::NotFound | Class::NotServed, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn condition(kind: ConditionKind, status: bool, reason: &'static str, message: String) -> MemberCondition {
    MemberCondition { kind, status: Some(status), reason, message: message.into() }
}

fn supported(facts: &MemberFacts) -> MemberCondition {
    let version = &facts.kubernetes_version;
    if facts.supported {
        return condition(ConditionKind::Supported, true, "Supported", format!("Kubernetes {version}"));
    }
    let message = format!("Kubernetes {version} is older than 1.{MINOR_MIN}; upgrade the cluster");
    condition(ConditionKind::Supported, false, "TooOld", message)
}

fn installed(facts: &MemberFacts, crd: Option<&Crd>, settings: &MemberSettings) -> MemberCondition {
    let (status, reason, message) = match crd {
        None => {
            let rule = "get customresourcedefinitions.apiextensions.k8s.io";
            (false, "Unknown", format!("whether VolSync is there can't be told: missing: {rule} {CRD}; {GRANT}"))
        }
        Some(Crd::Absent) => {
            (false, "NotInstalled", format!("there is no CustomResourceDefinition {CRD}; install VolSync"))
        }
        Some(Crd::Terminating) => (
            false,
            "BeingRemoved",
            format!("the CustomResourceDefinition {CRD} is being deleted; sources seen so far count on"),
        ),
        Some(Crd::Stands) if !facts.namespace => {
            let namespace = &settings.member_namespace;
            (false, "NamespaceMissing", format!("run `kubectl create namespace {namespace}` there"))
        }
        Some(Crd::Stands) => match &facts.mover_image {
            Some(image) => (true, "Installed", format!("mover image {image}")),
            None => {
                (true, "ImageUnknown", format!("no Deployment with {IMAGE_VARIABLE} was found; give --mover-image"))
            }
        },
    };
    condition(ConditionKind::VolSyncInstalled, status, reason, message)
}

fn authorized(missing: Option<&[String]>) -> MemberCondition {
    match missing {
        None => MemberCondition {
            kind: ConditionKind::Authorized,
            status: None,
            reason: "NotAsked",
            message: "the API server does not tell what the hub may do".into(),
        },
        Some([]) => condition(ConditionKind::Authorized, true, "Complete", "every right that is needed".to_owned()),
        Some(missing) => {
            let message = format!("missing: {}; {GRANT}", missing.join("; "));
            condition(ConditionKind::Authorized, false, "MissingRules", message)
        }
    }
}

async fn version(member: &Member) -> Result<Box<str>, CallError> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        release: Box<str>,
        #[serde(default)]
        major: Box<str>,
        #[serde(default)]
        minor: Box<str>,
    }
    let operation = Operation::new("get", "the version");
    let text = member.text(&operation, plain("/version")).await?;
    let Version { release, major, minor } = member.parse(&operation, &text)?;
    // One that was built from source names no release there.
    if release.starts_with("v0.") && !major.is_empty() {
        return Ok(format!("v{major}.{minor}").into());
    }
    Ok(release)
}

/// Asks for next to nothing: is it there, and are the credentials good?
pub async fn ping(member: &Member) -> Result<(), CallError> {
    version(member).await.map(drop)
}

/// Everything but what is surely too old.
fn is_supported(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '+', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => minor >= MINOR_MIN,
        _ => true,
    }
}

/// The API groups that are served, each with the version that its server prefers.
pub async fn groups(member: &Member) -> Result<BTreeMap<String, String>, CallError> {
    #[derive(Deserialize)]
    struct Groups {
        groups: Vec<Group>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Group {
        name: String,
        preferred_version: Option<Preferred>,
    }
    #[derive(Deserialize)]
    struct Preferred {
        version: String,
    }
    let operation = Operation::new("find", "API groups");
    let text = member.text(&operation, plain("/apis")).await?;
    let Groups { groups } = member.parse(&operation, &text)?;
    let served = groups.into_iter().filter_map(|group| Some((group.name, group.preferred_version?.version)));
    Ok(served.collect())
}

/// What VolSync's operator was started with.
#[derive(Default)]
struct VolSync {
    image: Option<Box<str>>,
    proxy: ProxyVariables,
}

async fn volsync(member: &Member, namespace: &str) -> Result<VolSync, CallError> {
    #[derive(Deserialize)]
    struct Deployment {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Spec {
        template: PodTemplate,
    }
    /// One operator, and whatever else shares its namespace.
    const DEPLOYMENTS_MAX: u32 = 200;
    let operation = Operation::list(format!("Deployments in {namespace}"));
    let parameters = ListParams { limit: Some(DEPLOYMENTS_MAX), ..ListParams::default() };
    let request = Request::new(format!("/apis/apps/v1/namespaces/{namespace}/deployments")).list(&parameters);
    let text = member.text(&operation, request).await?;
    let page: Page<Deployment> = member.parse(&operation, &text)?;
    let containers = page.items.into_iter().flat_map(|it| it.spec.template.spec.containers);
    let operator = containers.into_iter().find(|it| it.env.iter().any(|it| &*it.name == IMAGE_VARIABLE));
    let Some(operator) = operator else { return Ok(VolSync::default()) };
    let value = |name: &str| {
        let found = operator.env.iter().find(|it| &*it.name == name).and_then(|it| it.value.clone());
        found.filter(|value| !value.is_empty())
    };
    let proxy = PROXY_VARIABLES.iter().filter_map(|name| Some(((*name).into(), value(name)?))).collect();
    Ok(VolSync { image: value(IMAGE_VARIABLE), proxy: ProxyVariables(proxy) })
}

/// Metadata of one object; none where it is not there.
pub async fn bare(member: &Member, kind: &str, path: &str, name: &str) -> Result<Option<Bare>, CallError> {
    let operation = Operation::new("get", format!("{kind} {name}"));
    optional(member, &operation, Request::new(path).get_metadata(name, &GetParams::default())).await
}

/// A body, or none where the object is not there.
pub async fn optional<T: DeserializeOwned>(
    member: &Member,
    operation: &Operation,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<Option<T>, CallError> {
    match member.text(operation, request).await {
        Ok(text) => member.parse(operation, &text).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn plain(path: &str) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
    http::Request::get(path).body(Vec::new()).map_err(kube::core::request::Error::BuildRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in ["v1.29.0", "v1.36.3", "v1.30.5+k3s1", "v1.29.3-eks-a1", "v2.0.0", "v0.0.0-master+$Format:%H$"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["v1.28.15", "v1.9.11"] {
            assert!(!is_supported(version), "{version}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let settings = super::super::tests::settings();
        let mut facts = MemberFacts::default();
        assert_eq!(installed(&facts, Some(&Crd::Absent), &settings).reason, "NotInstalled");
        assert_eq!(installed(&facts, Some(&Crd::Stands), &settings).reason, "NamespaceMissing");
        facts.namespace = true;
        assert_eq!(installed(&facts, Some(&Crd::Stands), &settings).status, Some(true));
        let missing = ["list cronjobs.batch".to_owned()];
        assert_eq!(&*authorized(Some(&missing)).message, format!("missing: list cronjobs.batch; {GRANT}"));
    }
}

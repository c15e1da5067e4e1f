//! What a plan would change in members that are read from files. They show CronJobs, Secrets and ConfigMaps: nothing
//! is said of accounts. What a member's own VolSync decides, such as the image, is taken from what stands.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Map, Value};

use super::identity::secret_data;
use super::offline::Offline;
use crate::controller::preview::Preview;
use crate::controller::push::body;
use crate::diff::{self, Action, Change, Kind};
use crate::labels;
use crate::member::event::ReferencedKind;
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId};
use crate::plan::fleet::{Fleet, MemberRecord, Phase, PlanOptions};
use crate::plan::result::{Assignment, FleetPlan, Problem, Push, RepositoryPlan};
use crate::plan::{holder, views};
use crate::policy::CustomCa;
use crate::render::{self, Platform, RenderContext, cron_job, secret, support};

/// What the hub was started with, as far as the files do not tell it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hub<'a> {
    /// `--hub-id`; else that of the objects that stand.
    pub id: Option<&'a str>,
    /// `--mover-image`
    pub mover_image: Option<&'a str>,
}

/// The difference between what should stand in the members and what stands there. A hand-over is shown as done.
pub fn changes(plan: &FleetPlan, offline: &Offline, options: &PlanOptions, hub: Hub<'_>) -> Preview {
    let files = Files::new(offline, options, hub);
    let mut preview = Preview::default();
    let mut wanted: BTreeSet<(MemberName, RepositoryId)> = BTreeSet::new();
    let (mut kept, mut frozen) = (BTreeSet::<RepositoryId>::new(), BTreeSet::<RepositoryId>::new());
    for repository in &plan.repositories {
        match &repository.push {
            _ if is_observed(&offline.fleet, repository) => kept.extend(&repository.ids),
            Push::Keep => {
                kept.extend(&repository.ids);
                if repository.frozen {
                    frozen.extend(&repository.ids);
                }
            }
            Push::Remove => {}
            Push::Objects(assignment) => {
                wanted.insert((assignment.member.clone(), assignment.id));
                if !files.is_written_to(&assignment.member) {
                    continue;
                }
                match files.wanted(repository, assignment) {
                    Ok(objects) => {
                        for (kind, object) in objects {
                            files.compare(&assignment.member, kind, &object, &mut preview);
                        }
                    }
                    Err((reason, message)) => {
                        preview.problems.push(Problem { object: repository.id.ledger_name(), reason, message });
                    }
                }
            }
        }
    }
    for (member, kind, object, id) in files.of_repositories() {
        let left = || holder::source_may_be_left(&offline.fleet, options, &[id], member);
        let stays = wanted.contains(&(member.clone(), id)) || kept.contains(&id) || left();
        if !files.is_written_to(member) {
            continue;
        }
        let (cluster, object) = (member.clone(), object.clone());
        if frozen.contains(&id)
            && offline.fleet.cron_jobs.get(&(cluster.clone(), object.clone())).is_some_and(|it| !it.suspend)
        {
            preview.changes.push(Change::suspended(cluster, object));
        } else if !stays {
            preview.changes.push(Change { cluster, action: Action::Delete, kind, object, fields: Vec::new() });
        }
    }
    preview.changes.sort_by_key(Change::order);
    // What all repositories of a member share.
    preview.changes.dedup();
    preview
}

fn is_observed(fleet: &Fleet, repository: &RepositoryPlan) -> bool {
    let policy = repository.policy.as_ref().and_then(|name| fleet.policies.get(name));
    policy.is_some_and(|policy| policy.settings.as_ref().is_ok_and(|settings| settings.observe))
}

/// Why something can't be pushed: a fixed word, and a sentence.
type Trouble = (&'static str, String);

/// The objects of the files, by where they stand; the last of each name counts.
struct Files<'a> {
    fleet: &'a Fleet,
    options: &'a PlanOptions,
    hub: Hub<'a>,
    objects: BTreeMap<(&'a str, PlacedName), &'a Value>,
}

impl<'a> Files<'a> {
    fn new(offline: &'a Offline, options: &'a PlanOptions, hub: Hub<'a>) -> Self {
        let objects = offline.objects.iter().filter_map(|(place, value)| {
            let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
            let namespace = text("/metadata/namespace").unwrap_or("default");
            let object = ObjectName::new(namespace, text("/metadata/name")?);
            Some(((text("/kind")?, PlacedName { place: place.clone(), object }), value))
        });
        let mut files = Self { fleet: &offline.fleet, options, hub, objects: objects.collect() };
        files.hub.id = hub.id.or_else(|| files.standing_hub());
        files
    }

    /// The hub whose objects stand in the members.
    fn standing_hub(&self) -> Option<&'a str> {
        let ours = |value: &&&Value| value.pointer("/metadata/labels").is_some_and(is_managed);
        self.objects.values().filter(ours).find_map(|value| value["metadata"]["labels"][labels::HUB].as_str())
    }

    fn is_written_to(&self, member: &MemberName) -> bool {
        self.fleet.members.get(member).is_some_and(MemberRecord::is_written_to)
    }

    fn get(&self, kind: &str, place: &Place, object: &ObjectName) -> Option<&'a Value> {
        let name = PlacedName { place: place.clone(), object: object.clone() };
        self.objects.range((kind, name.clone())..=(kind, name)).next().map(|(_, value)| *value)
    }

    fn in_member(&self, kind: Kind, member: &MemberName, name: &str) -> Option<&'a Value> {
        let object = ObjectName::new(self.options.member_namespace.clone(), name);
        self.get(kind.as_str(), &Place::Member(member.clone()), &object)
    }

    /// CronJobs and Secrets of this hub for some repository, with which one.
    fn of_repositories(&self) -> Vec<(&MemberName, Kind, &ObjectName, RepositoryId)> {
        let cron_jobs = self.fleet.cron_jobs.iter().filter(|(_, standing)| standing.ours);
        let cron_jobs = cron_jobs.map(|((member, object), it)| (member, Kind::CronJob, object, it.repository));
        let secrets = self.objects.iter().filter(|((kind, _), _)| *kind == "Secret");
        let secrets = secrets.filter_map(|((_, name), value)| {
            let marks = value.pointer("/metadata/labels").filter(|marks| is_managed(marks))?;
            let id = marks[labels::REPOSITORY].as_str()?.parse().ok()?;
            Some((name.place.member()?, Kind::Secret, &name.object, id))
        });
        let foreign = |member: &MemberName, kind: Kind, object: &ObjectName| {
            let value = self.get(kind.as_str(), &Place::Member(member.clone()), object);
            value.is_none_or(|value| self.is_strange(value))
        };
        cron_jobs.chain(secrets).filter(|(member, kind, object, _)| !foreign(member, *kind, object)).collect()
    }

    /// It is another hub's, or nobody says whose.
    fn is_strange(&self, value: &Value) -> bool {
        let metadata = &value["metadata"];
        let mark = metadata["labels"][labels::HUB].as_str().or(metadata["annotations"][labels::HUB].as_str());
        match mark {
            Some(mark) => self.hub.id.is_some_and(|id| id != mark),
            None => !is_managed(&metadata["labels"]),
        }
    }

    /// Every object that an assignment brings to its member, prerequisites first.
    fn wanted(&self, repository: &RepositoryPlan, assignment: &Assignment) -> Result<Vec<(Kind, Value)>, Trouble> {
        let hub_id = self.hub.id.unwrap_or("hub");
        let namespace = &*self.options.member_namespace;
        let standing = self.in_member(Kind::CronJob, &assignment.member, &assignment.id.object_name());
        let (epoch, waits) = self.epoch(repository, assignment, standing);
        let mut script = support::script(hub_id, namespace);
        render::seal(&mut script);
        let mut objects = vec![(Kind::ConfigMap, body(&script))];
        let platform = self.platform(assignment, standing);
        let context = RenderContext { hub_id, namespace, member: &platform, epoch, time_factor: 1 };
        let (data, version) = self.copied(assignment)?;
        objects.push((Kind::Secret, body(&secret::copy(assignment, &context, data, &version))));
        if let Some(ca) = &assignment.custom_ca {
            let (bundle, version) = self.bundle(assignment, ca)?;
            objects.push((Kind::Secret, body(&secret::ca_copy(assignment, &context, bundle, &version))));
        }
        let render = |openshift: bool| {
            let platform = Platform { openshift, ..platform.clone() };
            let context = RenderContext { member: &platform, ..context.clone() };
            let mut wanted: CronJob = cron_job::cron_job(assignment, &context, assignment.suspend || waits);
            render::seal(&mut wanted);
            body(&wanted)
        };
        // Whether the platform gives out user ids itself shows in what stands.
        let distance = |wanted: &Value| standing.map_or(0, |standing| diff::differences(wanted, standing).len());
        let (plain, openshift) = (render(false), render(true));
        objects.push((Kind::CronJob, if distance(&openshift) < distance(&plain) { openshift } else { plain }));
        Ok(objects)
    }

    /// The epoch that the CronJob carries, and whether a claim or a former owner is waited for.
    fn epoch(&self, plan: &RepositoryPlan, assignment: &Assignment, standing: Option<&Value>) -> (u64, bool) {
        let grants = plan.ids.iter().filter_map(|id| self.fleet.ledger.get(id)?.grant.as_ref());
        match grants.max_by_key(|grant| grant.epoch) {
            Some(grant) if grant.cluster == assignment.member => (grant.epoch, grant.phase != Phase::Active),
            Some(grant) => (grant.epoch + 1, false),
            None => {
                let annotation = standing.and_then(|it| it["metadata"]["annotations"][labels::EPOCH].as_str());
                (annotation.and_then(|epoch| epoch.parse().ok()).unwrap_or(0), false)
            }
        }
    }

    fn platform(&self, assignment: &Assignment, standing: Option<&Value>) -> Platform {
        let name = ObjectName::new("default", assignment.member.as_str());
        let cluster = self.get("MemberCluster", &Place::Hub, &name).map(|cluster| &cluster["spec"]);
        let container = standing.and_then(|it| it.pointer("/spec/jobTemplate/spec/template/spec/containers/0"));
        let of_cluster = cluster.and_then(|spec| spec["moverImage"].as_str());
        let of_standing = container.and_then(|container| container["image"].as_str());
        let is_proxy = |name: &str| name.to_ascii_uppercase().ends_with("_PROXY");
        let variables = container.and_then(|container| container["env"].as_array()).into_iter().flatten();
        let proxies = variables.filter_map(|variable| {
            Some((
                variable["name"].as_str().filter(|name| is_proxy(name))?.to_owned(),
                variable["value"].as_str()?.to_owned(),
            ))
        });
        let pull_secrets = cluster.and_then(|spec| spec["imagePullSecrets"].as_array()).into_iter().flatten();
        Platform {
            image: of_cluster.or(of_standing).or(self.hub.mover_image).unwrap_or_default().to_owned(),
            proxies: proxies.collect(),
            openshift: false,
            image_pull_secrets: pull_secrets.filter_map(|it| Some(it["name"].as_str()?.to_owned())).collect(),
        }
    }

    /// What the Job needs of its Secret.
    fn copied(&self, assignment: &Assignment) -> Result<(BTreeMap<String, Vec<u8>>, String), Trouble> {
        let from = &assignment.secret;
        let missing = || ("SecretMissing", format!("Secret {from} is not in the files"));
        let value = self.get("Secret", &from.place, &from.object).ok_or_else(missing)?;
        let data = secret_data(value).map_err(|message| ("SecretUnreadable", format!("Secret {from}: {message}")))?;
        let source = assignment.source.as_ref();
        let source =
            source.and_then(|object| self.get("ReplicationSource", &Place::Member(assignment.member.clone()), object));
        let kopia = source.and_then(|source| source.pointer("/spec/kopia")).unwrap_or(&Value::Null);
        let copy = views::copy_of(self.fleet, self.options, assignment, &data, kopia);
        let (_, data) = copy.ok_or_else(|| ("SecretUnreadable", format!("Secret {from} means no repository")))?;
        Ok((data, version(value)))
    }

    fn bundle(&self, assignment: &Assignment, ca: &CustomCa) -> Result<(Vec<u8>, String), Trouble> {
        let (kind, from) = ca.placed(&assignment.secret);
        let kind = match kind {
            ReferencedKind::Secret => "Secret",
            ReferencedKind::ConfigMap => "ConfigMap",
        };
        let missing = |what: &str| ("CustomCAMissing", format!("the custom CA, {kind} {from}, {what}"));
        let value = self.get(kind, &from.place, &from.object).ok_or_else(|| missing("is not in the files"))?;
        let of_map = || Some(value["data"].get(&*ca.key)?.as_str()?.as_bytes().to_vec());
        let bundle =
            if kind == "Secret" { secret_data(value).ok().and_then(|mut it| it.remove(&*ca.key)) } else { of_map() };
        Ok((bundle.ok_or_else(|| missing(&format!("has no key {:?}", ca.key)))?, version(value)))
    }

    fn compare(&self, member: &MemberName, kind: Kind, wanted: &Value, preview: &mut Preview) {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let object = ObjectName::new(self.options.member_namespace.clone(), name);
        let (action, fields) = match self.in_member(kind, member, name) {
            None => (Action::Create, Vec::new()),
            Some(standing) if self.is_strange(standing) => {
                let message = format!("{kind} {object} stands there and is not this hub's, so it is left alone");
                return preview.problems.push(Problem { object: member.to_string(), reason: "NotOurs", message });
            }
            Some(standing) => (Action::Update, diff::fields(kind, wanted, &with_data(kind, standing))),
        };
        if action == Action::Create || !fields.is_empty() {
            preview.changes.push(Change { cluster: member.clone(), action, kind, object, fields });
        }
    }
}

/// A Secret as an API server shows it, its `stringData` in `data`.
fn with_data(kind: Kind, standing: &Value) -> Value {
    let mut standing = standing.clone();
    if kind == Kind::Secret
        && let Ok(data) = secret_data(&standing)
    {
        let encoded = data.into_iter().map(|(key, value)| (key, serde_json::json!(k8s_openapi::ByteString(value))));
        standing["data"] = Value::Object(encoded.collect::<Map<_, _>>());
    }
    standing
}

fn is_managed(marks: &Value) -> bool {
    marks[labels::MANAGED_BY] == labels::MANAGED_BY_VALUE
}

fn version(value: &Value) -> String {
    value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
